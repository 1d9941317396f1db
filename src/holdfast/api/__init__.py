"""The service's HTTP face: REST under /api/v1, live events, the built dashboard.

`app.py` puts it together, `routes/` has one module by noun, `schemas/` what goes over the wire,
`access/` who may. Only here are FastAPI and Pydantic models of the API imported; no byte of a
backup passes through this process but those of files that are downloaded.
"""
