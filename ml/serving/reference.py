"""The page /docs: the OpenAPI document as plain HTML.

The usual pages load scripts from another host. This one needs none, so nothing about who reads it
leaves the house.
"""

from typing import Any

from jinja2 import Environment

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ info.title }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto;
    padding: 0 1rem }
  h2 { border-top: 1px solid #ccc; padding-top: 1rem } code { font-size: 0.9em }
  pre { background: #f4f4f4; padding: 0.7rem; overflow-x: auto }
  td, th { text-align: left; padding: 0.1rem 1rem 0.1rem 0; vertical-align: top }
</style>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description }}</p>
<p>Generate a client from <a href="openapi.json">openapi.json</a>.</p>
{% macro type(schema) %}
  {%- if schema["$ref"] %}<a href="#{{ schema["$ref"].split("/")[-1] }}">
    {{- schema["$ref"].split("/")[-1] }}</a>
  {%- elif schema.anyOf %}{% for s in schema.anyOf %}{{ " or " if not loop.first }}{{ type(s) }}
    {%- endfor %}
  {%- elif schema.type == "array" %}list of {{ type(schema["items"]) }}
  {%- elif schema.type == "object" %}{{ schema.title }}
  {%- else %}{{ schema.format or schema.type or "" }}{% endif %}
{%- endmacro %}
{% for path, methods in paths.items() %}{% for method, it in methods.items() %}
<h2><code>{{ method.upper() }} {{ path }}</code></h2>
<p>{{ it.description or it.summary }}</p>
<table>
{% for p in it.parameters %}
<tr><td><code>{{ p.name }}</code><td>{{ type(p.schema) }}, in {{ p.in }}
<td>{{ p.description or p.schema.description }}
{% endfor %}
{% if it.requestBody %}
<tr><td>body<td>{{ type(it.requestBody.content["application/json"].schema) }}<td>
{% endif %}
{% for status, answer in it.responses.items() %}
<tr><td>{{ status }}<td>{% for kind in (answer.content or {}).values() -%}
{{ type(kind.schema) }}{% endfor %}<td>{{ answer.description }}
{% endfor %}
</table>
{% endfor %}{% endfor %}
{% for name, schema in components.schemas.items() %}
<h2 id="{{ name }}">{{ name }}</h2>
<p>{{ schema.description }}</p>
<table>
{% for field, s in schema.properties.items() %}
<tr><td><code>{{ field }}</code><td>{{ type(s) }}<td>{{ s.description }}
{% endfor %}
</table>
{% for example in schema.examples or [] %}<pre>{{ example | tojson(2) }}</pre>{% endfor %}
{% endfor %}
</html>
"""


def page(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    return Environment(autoescape=True).from_string(_PAGE).render(document)
