"""KIS's real hosts (kis-api.md, section 1)."""

from typing import Final

REST_URL: Final = "https://openapi.koreainvestment.com:9443"
STREAM_URL: Final = "ws://ops.koreainvestment.com:21000/tryitout"
FILES_URL: Final = "https://new.real.download.dws.co.kr"
