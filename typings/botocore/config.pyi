class Config:
    def __init__(
        self,
        *,
        retries: dict[str, object],
        s3: dict[str, object],
        connect_timeout: float,
        read_timeout: float,
        max_pool_connections: int,
        signature_version: str,
        ignore_configured_endpoint_urls: bool,
    ) -> None: ...
