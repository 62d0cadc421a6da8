"""What goes over the wire: one request, and the answers of server B."""

from typing import Annotated

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

Message = Annotated[str, Field(min_length=1, max_length=10_000)]
Context = Annotated[str | None, Field(max_length=5_000, description="system prompt")]
Model = Annotated[str | None, Field(max_length=200, description="default: the provider's")]


class Request(BaseModel):
    message: Message
    context: Context = None
    model: Model = None


class Usage(TypedDict):
    promptTokens: int | None
    completionTokens: int | None
    totalTokens: int | None
    estimatedCost: float | None  # US dollars; None: not known, which is not the same as nothing


class Reply(TypedDict):
    status: str
    aiResponse: str
    provider: str
    model: str
    usage: Usage
    timestamp: str
    processingTime: float  # seconds


class Health(TypedDict):
    status: str  # "healthy", or "degraded" if the provider's last call failed
    provider: str
    messagesProcessed: int
    error: str | None


class Models(TypedDict):
    provider: str
    models: list[str]
    default: str


class ProviderInfo(TypedDict):
    provider: str
    defaultModel: str
    maxTokens: int
