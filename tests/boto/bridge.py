"""Lets the tests, which are Rust, call the real boto3.

One JSON object a line in, one a line out, in order. A request has `kind`:
  call      {service, op, args}            -> {ok: response}
  wait      {service, waiter, args, delay, attempts} -> {ok: null}
  paginate  {service, op, args, page}      -> {ok: [response, ..]}
  model     {service}                      -> {ok: {operations: {name: {input: required members}}}}
  members   {service, op}                  -> {ok: [{path: [member or 0, ..], value}, ..]}, all that a request may have
  raw       {service, target, body, headers, sign, skew, secret, key, drop, tamper} -> {ok: {status, headers, body}}
An error of the service comes as {error: {code, message, status}}, any other as {error: {code: "<Python type>", ..}}.
"""

import base64
import datetime
import http.client
import json
import os
import sys
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session

ENDPOINT = os.environ["LAB_ENDPOINT"]
KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_DEFAULT_REGION"]
clients = {}


def client(service, region=None):
    region = region or REGION
    if (service, region) not in clients:
        # One attempt: a test is to see every error, and none is to be hidden by a retry.
        config = botocore.config.Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=5, read_timeout=60
        )
        clients[service, region] = boto3.client(service, region_name=region, endpoint_url=ENDPOINT, config=config)
    return clients[service, region]


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value))


def strip(response):
    if isinstance(response, dict):
        response.pop("ResponseMetadata", None)
    return response


def call(request):
    made = client(request["service"], request.get("region"))
    return strip(getattr(made, request["op"])(**request["args"]))


def wait(request):
    waiter = client(request["service"]).get_waiter(request["waiter"])
    config = {"Delay": request["delay"], "MaxAttempts": request["attempts"]}
    waiter.wait(WaiterConfig=config, **request["args"])


def paginate(request):
    pages = client(request["service"]).get_paginator(request["op"]).paginate(
        PaginationConfig={"PageSize": request["page"]}, **request["args"]
    )
    return [strip(page) for page in pages]


def sample(shape, depth=0):
    """A value that botocore itself would accept for `shape`."""
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_tagged_union", False):
            name = next(iter(shape.members))
            return {name: sample(shape.members[name], depth + 1)}
        return {name: sample(shape.members[name], depth + 1) for name in shape.required_members}
    if kind == "list":
        return [sample(shape.member, depth + 1)] if depth < 6 else []
    if kind == "map":
        return {}
    if kind == "string":
        return shape.enum[0] if getattr(shape, "enum", None) else "x"
    if kind in ("integer", "long"):
        return 1
    if kind in ("float", "double"):
        return 1.0
    if kind == "boolean":
        return False
    if kind == "timestamp":
        return 1700000000
    return "eA=="


def model(request):
    service = client(request["service"]).meta.service_model
    operations = {}
    for name in service.operation_names:
        shape = service.operation_model(name).input_shape
        operations[name] = sample(shape) if shape else {}
    return {"operations": operations, "prefix": service.metadata.get("targetPrefix")}


def leaves(shape, path):
    """Every value within `shape` that has no parts, with its path: an item of a list is 0, one of a map is `key`."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from leaves(member, path + [name])
    elif shape.type_name == "list":
        yield from leaves(shape.member, path + [0])
    elif shape.type_name == "map":
        yield {"path": path + ["key"], "value": sample(shape.value)}
    else:
        yield {"path": path, "value": True if shape.type_name == "boolean" else sample(shape)}


def members(request):
    service = client(request["service"]).meta.service_model
    return list(leaves(service.operation_model(request["op"]).input_shape, []))


def raw(request):
    body = base64.b64decode(request["body64"]) if "body64" in request else request.get("body", "{}").encode()
    headers = {"Content-Type": request.get("content_type", "application/x-amz-json-1.1")}
    if request.get("target"):
        headers["X-Amz-Target"] = request["target"]
    headers.update(request.get("headers", {}))
    path = request.get("path", "/")
    made = botocore.awsrequest.AWSRequest(
        method=request.get("method", "POST"), url=ENDPOINT + path, data=body, headers=headers
    )
    if request.get("sign", True):
        credentials = botocore.credentials.Credentials(
            request.get("key", KEY), request.get("secret", SECRET), request.get("session_token")
        )
        auth = botocore.auth.SigV4Auth(credentials, request.get("service", "ecs"), request.get("region", REGION))
        shift = datetime.timedelta(seconds=request.get("skew", 0))
        kept = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda *a, **k: kept(*a, **k) + shift
        try:
            auth.add_auth(made)
        finally:
            botocore.auth.get_current_datetime = kept
    prepared = made.prepare()
    sent = dict(prepared.headers.items())
    for name in request.get("drop", []):
        for key in [k for k in sent if k.lower() == name.lower()]:
            del sent[key]
    sent.update(request.get("tamper", {}))
    if "tamper_body" in request:
        body = request["tamper_body"].encode()
        sent["Content-Length"] = str(len(body))
    url = urllib.parse.urlsplit(ENDPOINT)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(request.get("method", "POST"), path, body=body, headers=sent)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return {"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()}, "body": text}
    finally:
        connection.close()


KINDS = {"call": call, "wait": wait, "paginate": paginate, "model": model, "members": members, "raw": raw}

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"ok": KINDS[request["kind"]](request)}
    except botocore.exceptions.ClientError as error:
        found = error.response.get("Error", {})
        answer = {
            "error": {
                "code": found.get("Code", ""),
                "message": found.get("Message", ""),
                "status": error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
                "body": {k: v for k, v in error.response.items() if k not in ("Error", "ResponseMetadata")},
            }
        }
    except Exception as error:  # every failure is the test's to judge
        answer = {"error": {"code": type(error).__name__, "message": str(error), "status": 0}}
    print(json.dumps(answer, default=plain), flush=True)
