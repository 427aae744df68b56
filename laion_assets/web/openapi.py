"""Describes what the pages serve to programs, from the pages themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from laion_assets.web import clip_retrieval, uploads
from laion_assets.web.responses import Problem
from laion_assets.web.visit import Page

REFERENCE = "#/components/schemas/{model}"
UNCHANGED = "The client has it already, as its `If-None-Match` tells."
LIST_TYPES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
# What a picture is sent as.
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
UPLOAD = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {
                uploads.FIELD: _BINARY,
                uploads.VECTOR: {
                    "type": "string",
                    "contentEncoding": "base64",
                    "description": "That of an answer, instead of the picture.",
                },
            },
        }
    },
    "image/*": {"schema": _BINARY},
}
# A list as a file has all pages.
OF_ONE_PAGE = frozenset({"page", "view"})
PROBLEMS = {
    "400": "A parameter is no value that it can have.",
    "404": "There is nothing at this address.",
    "429": "Too many requests of this client at once, or in a second.",
    "503": "Too much to do, or no release yet.",
}


def describe_api(pages: Iterable[Page]) -> bytes:
    """Returns the OpenAPI document."""
    pages = tuple(pages)
    models = [page.answer for page in pages] + [Problem]
    requests = clip_retrieval.AskedNear, clip_retrieval.AskedRows
    references, schemas = models_json_schema(
        [
            *((model, "serialization") for model in models),
            *((model, "validation") for model in requests),
        ],
        ref_template=REFERENCE,
    )
    problems = {
        status: {"description": why, "content": _json(references[Problem, "serialization"])}
        for status, why in PROBLEMS.items()
    }
    paths: dict[str, Any] = {}
    for page in pages:
        path = "/index" if page.path == "/" else page.path.replace(":text", "")
        parameters = [*_describe_path(path), *_describe_query(page)]
        answer = {
            "description": page.summary,
            "content": _json(references[page.answer, "serialization"]),
        }
        paths[f"{path}.json"] = {
            "get": {
                "operationId": page.name,
                "summary": page.summary,
                "parameters": parameters,
                "responses": {"200": answer, "304": {"description": UNCHANGED}, **problems},
            }
        }
        if page.path == uploads.PATH:
            paths[f"{path}.json"]["post"] = {
                "operationId": f"{page.name}_sent",
                "summary": page.summary,
                "parameters": parameters,
                "requestBody": {"required": True, "content": UPLOAD},
                "responses": {"200": answer, **problems},
            }
        if page.rows:
            listed = [p for p in parameters if p["name"] not in OF_ONE_PAGE]
            for suffix, media_type in LIST_TYPES.items():
                text = {media_type: {"schema": {"type": "string"}}}
                rows = {"description": "All rows, of all pages.", "content": text}
                paths[f"{path}.{suffix}"] = {
                    "get": {
                        "operationId": f"{page.name}_{suffix}",
                        "summary": f"{page.summary}, as {suffix}",
                        "parameters": listed,
                        "responses": {"200": rows, **problems},
                    }
                }
    near, rows = (_json(references[model, "validation"]) for model in requests)
    paths |= {
        clip_retrieval.KNN: {"post": _describe_service(clip_retrieval.FIND, near, problems)},
        clip_retrieval.METADATA: {
            "post": _describe_service(clip_retrieval.DESCRIBE, rows, problems)
        },
        clip_retrieval.INDICES: {"get": _describe_service(clip_retrieval.LIST, None, problems)},
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "laion_assets", "version": version("laion-assets")},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }
    return json.dumps(document).encode()


def _describe_service(
    service: clip_retrieval.Service, request: dict[str, Any] | None, problems: dict[str, Any]
) -> dict[str, Any]:
    """Returns a part of clip-retrieval's service, which takes JSON and has no page."""
    items = {"type": "array", "items": service.item}
    body = {"requestBody": {"required": True, "content": request}} if request else {}
    return {
        "operationId": service.name,
        "summary": service.summary,
        **body,
        "responses": {
            "200": {"description": service.summary, "content": _json(items)},
            **{status: problem for status, problem in problems.items() if status != "404"},
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _describe_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _describe_query(page: Page) -> list[dict[str, Any]]:
    schema = page.query.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in schema.get("properties", {}).items()
    ]
