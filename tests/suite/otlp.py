"""Bodies of OTLP in JSON, one a line, read by OpenTelemetry's own schema: a key that it does not know, a value of another
type or an id of another length is an error. Prints what was read."""

import base64
import re
import sys
from json import loads

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# The one difference between OTLP's JSON and protobuf's: there these are hex, here base64.
IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def with_bytes(part):
    if isinstance(part, list):
        return [with_bytes(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {}
    for key, value in part.items():
        if key in IDS:
            assert re.fullmatch("[0-9a-f]{%d}" % IDS[key], value), (key, value)
            assert int(value, 16) != 0, key
            value = base64.b64encode(bytes.fromhex(value)).decode()
        made[key] = with_bytes(value)
    return made


def check_spans(request):
    count = 0
    for resource in request.resource_spans:
        assert resource.resource.attributes
        for scope in resource.scope_spans:
            assert scope.scope.name == "healthd"
            own = {(s.trace_id, s.span_id): s for s in scope.spans}
            assert len(own) == len(scope.spans), "an id twice"
            for span in scope.spans:
                assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
                assert span.name and span.kind == 1, span
                if span.parent_span_id:
                    parent = own[(span.trace_id, span.parent_span_id)]
                    assert parent.start_time_unix_nano <= span.start_time_unix_nano, span
                    assert span.end_time_unix_nano <= parent.end_time_unix_nano, span
                count += 1
    return count


def check_metrics(request):
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                assert kind, metric
                for point in getattr(metric, kind).data_points:
                    assert point.time_unix_nano > 0
                    if kind == "histogram":
                        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
                        assert sum(point.bucket_counts) == point.count
                    count += 1
    return count


spans = points = 0
for line in sys.stdin:
    body = with_bytes(loads(line))
    if "resourceSpans" in body:
        spans += check_spans(ParseDict(body, ExportTraceServiceRequest()))
    else:
        points += check_metrics(ParseDict(body, ExportMetricsServiceRequest()))
assert spans + points > 0, "nothing was read"
print(f"{spans} spans and {points} points are by OpenTelemetry's schema")
