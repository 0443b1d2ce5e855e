"""The bodies 302.AI writes, in its own words and shapes.

PURE: values in, values out. Which body answers which call is decided in `app` and `faults`, never here.
"""

from datetime import UTC, datetime
from enum import IntEnum
from typing import Final, NamedTuple

import orjson

Json = dict[str, object]


class Code(IntEnum):
    """302's `err_code`s, those that an image call can meet."""

    MISSING_KEY = -10001
    INVALID_KEY = -10002
    NETWORK = -10003
    BALANCE = -10004
    EXPIRED = -10005
    QUOTA = -10006
    DAILY_QUOTA = -10007
    NO_CHANNEL = -10008
    NOT_SUPPORTED = -10009
    NOT_FOUND = -10010
    INVALID_REQUEST = -10011
    FORBIDDEN = -10013
    TOO_LARGE = -10017
    MONTHLY_QUOTA = -10018
    AI_TIMEOUT = -1024
    GENERATION_TIMEOUT = -10504


class Text(NamedTuple):
    """One message in the three languages that every error of 302 carries."""

    en: str
    cn: str
    jp: str


TEXTS: Final = {
    Code.MISSING_KEY: Text("Missing 302 Apikey", "缺少302 API密钥", "302 APIキーがありません"),
    Code.INVALID_KEY: Text("Invalid API Key", "API密钥无效", "APIキーが無効です"),
    Code.NETWORK: Text(
        "Network error, please try again later",
        "网络错误, 请稍后重试",
        "ネットワークエラー, 後でもう一度お試しください",
    ),
    Code.BALANCE: Text("Insufficient account balance", "账户余额不足", "アカウントの残高が不足しています"),
    Code.QUOTA: Text("The total quota of this key is used up", "该密钥总额度已用完", "このキーの総枠を使い切りました"),
    Code.EXPIRED: Text("The credential has expired", "凭证已过期", "認証情報の有効期限が切れています"),
    Code.DAILY_QUOTA: Text(
        "The daily quota of this key is used up", "该密钥今日额度已用完", "このキーの本日の枠を使い切りました"
    ),
    Code.MONTHLY_QUOTA: Text(
        "The monthly quota of this key is used up", "该密钥本月额度已用完", "このキーの今月の枠を使い切りました"
    ),
    Code.NO_CHANNEL: Text(
        "No available models currently, please try again later",
        "当前无可用模型, 请稍后重试",
        "現在利用可能なモデルがありません, 後でもう一度お試しください",
    ),
    Code.NOT_SUPPORTED: Text("API function not supported", "不支持该接口功能", "このAPI機能はサポートされていません"),
    Code.NOT_FOUND: Text("Resource not found", "资源不存在", "リソースが見つかりません"),
    Code.INVALID_REQUEST: Text("Invalid request", "请求无效", "無効なリクエスト"),
    Code.FORBIDDEN: Text(
        "The model is disabled, permission denied", "模型已禁用, 没有权限", "モデルが無効です, 権限がありません"
    ),
    Code.TOO_LARGE: Text("File larger than 50 MB", "文件大于50MB", "ファイルが50MBを超えています"),
    Code.AI_TIMEOUT: Text("AI interface connection timeout", "AI接口连接超时", "AIインターフェース接続タイムアウト"),
    Code.GENERATION_TIMEOUT: Text("Generation timed out", "生成超时", "生成がタイムアウトしました"),
}


def error(code: Code, detail: str = "") -> Json:
    """302's own error body; `detail` says in English what exactly was wrong."""
    ending = f": {detail}" if detail else ""
    text = TEXTS[code]
    return {
        "error": {
            "err_code": int(code),
            "message": text.en + ending,
            "message_cn": text.cn + ending,
            "message_jp": text.jp + ending,
            "type": "api_error",
        }
    }


def documented_error(code: str, message: str, request_id: str) -> Json:
    """The other error body, schema `ErrorResponse` of 302's data models: a word for a code, and nothing nested."""
    return {"code": code, "message": message, "request_id": request_id}


def task(model: str, url: str | None, began: float, ended: float, problem: str = "") -> Json:
    """What stands in `data`: the answer of a 302-hosted task, whose `output` is a JSON array written into a string."""
    return {
        "completed_at": moment(ended),
        "created_at": moment(began),
        "error": problem,
        "id": str(int(began * 10_000)),
        "model": model,
        "output": orjson.dumps([url]).decode() if url else "",
        "started_at": moment(began),
        "status": "failed" if problem else "succeeded",
    }


def success(model: str, url: str, began: float, ended: float) -> Json:
    """The answer that carries a picture."""
    return {"image_url": url, "data": task(model, url, began, ended)}


def moment(seconds: float) -> str:
    """A time as 302 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
