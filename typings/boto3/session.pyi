from botocore.config import Config

class Session:
    def __init__(
        self,
        *,
        aws_access_key_id: str,
        aws_secret_access_key: str,
        aws_session_token: str | None,
        region_name: str,
    ) -> None: ...
    def client(
        self, service_name: str, *, endpoint_url: str, verify: bool | str, config: Config
    ) -> object: ...
