class BotoCoreError(Exception): ...

class ClientError(Exception):
    response: dict[str, object]
