"""The public surface, and everything of the engine that must stay behind it."""

from __future__ import annotations

from suites.conformance.ask import CHAT, COMPLETIONS

ALLOWED = (("POST", CHAT), ("POST", COMPLETIONS), ("GET", "/v1/models"))
"""Every route that needs credentials. GET /readyz is the one that does not."""

ENGINE = (
    # llama.cpp tools/server/server.cpp, all routes it registers, router mode and Vertex AI names included
    "GET /",
    "GET /index.html",
    "GET /health",
    "GET /v1/health",
    "GET /metrics",
    "GET /props",
    "POST /props",
    "GET /models",
    "POST /models",
    "DELETE /models",
    "POST /models/load",
    "POST /models/unload",
    "GET /models/sse",
    "POST /completion",
    "POST /completions",
    "POST /chat/completions",
    "POST /v1/chat/completions/control",
    "POST /v1/responses",
    "POST /responses",
    "POST /v1/audio/transcriptions",
    "POST /audio/transcriptions",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /infill",
    "POST /embedding",
    "POST /embeddings",
    "POST /v1/embeddings",
    "POST /rerank",
    "POST /reranking",
    "POST /v1/rerank",
    "POST /v1/reranking",
    "POST /tokenize",
    "POST /detokenize",
    "POST /apply-template",
    "POST /chat/completions/input_tokens",
    "POST /v1/chat/completions/input_tokens",
    "POST /responses/input_tokens",
    "POST /v1/responses/input_tokens",
    "GET /lora-adapters",
    "POST /lora-adapters",
    "GET /slots",
    "POST /slots/0?action=erase",
    "POST /slots/0?action=save",
    "GET /v1/stream",
    "DELETE /v1/stream",
    "POST /v1/streams/lookup",
    "GET /cors-proxy?url=http://127.0.0.1:22/",
    "POST /cors-proxy?url=http://127.0.0.1:22/",
    "GET /tools",
    "POST /tools",
    "POST /predict",
    # LocalAI's administration, which a release image has behind the same proxy
    "POST /models/apply",
    "GET /models/available",
    "POST /backends/apply",
    "GET /swagger/index.html",
    "GET /system",
    "POST /v1/images/generations",
    "POST /tts",
    # what scanners try first
    "GET /.env",
    "GET /.git/config",
    "GET /nginx_status",
    "GET /api/tags",
)
"""`METHOD /path` of what must be 404 even for the administrator."""
