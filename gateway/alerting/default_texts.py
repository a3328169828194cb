"""The named texts that every configuration may include; the names are those of Alertmanager."""

from __future__ import annotations

from typing import Final

DEFAULT_TEXTS: Final = (
    '{{ define "__subject" }}[{{ .Status | toUpper }}{{ if eq .Status "firing" }}:{{ .Alerts.Firing | len }}{{ end }}] '
    '{{ .GroupLabels.SortedPairs.Values | join " " }}'
    "{{ if gt (len .CommonLabels) (len .GroupLabels) }}{{ with .CommonLabels.Remove .GroupLabels.Names }} "
    '({{ .Values | join " " }}){{ end }}{{ end }}{{ end }}'
    '{{ define "__alertmanager" }}Gateway{{ end }}{{ define "__alertmanagerURL" }}{{ .ExternalURL }}/{{ end }}'
    '{{ define "__text_alert_list" }}{{ range . }}Labels:\n'
    "{{ range .Labels.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}"
    "Annotations:\n{{ range .Annotations.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}"
    "Source: {{ .GeneratorURL }}\n{{ end }}{{ end }}",
    '{{ define "slack.default.title" }}{{ template "__subject" . }}{{ end }}'
    '{{ define "slack.default.titlelink" }}{{ template "__alertmanagerURL" . }}{{ end }}'
    '{{ define "slack.default.fallback" }}{{ template "__subject" . }} | {{ template "__alertmanagerURL" . }}{{ end }}'
    '{{ define "slack.default.text" }}{{ range .Alerts }}{{ if .Annotations.summary }}{{ .Annotations.summary }}\n'
    "{{ end }}{{ end }}{{ end }}"
    '{{ define "slack.default.username" }}{{ template "__alertmanager" . }}{{ end }}'
    '{{ define "slack.default.pretext" }}{{ end }}{{ define "slack.default.footer" }}{{ end }}'
    '{{ define "slack.default.iconemoji" }}{{ end }}{{ define "slack.default.iconurl" }}{{ end }}'
    '{{ define "slack.default.callbackid" }}{{ end }}',
    '{{ define "pagerduty.default.description" }}{{ template "__subject" . }}{{ end }}'
    '{{ define "pagerduty.default.client" }}{{ template "__alertmanager" . }}{{ end }}'
    '{{ define "pagerduty.default.clientURL" }}{{ template "__alertmanagerURL" . }}{{ end }}'
    '{{ define "pagerduty.default.instances" }}{{ template "__text_alert_list" . }}{{ end }}',
    '{{ define "opsgenie.default.message" }}{{ template "__subject" . }}{{ end }}'
    '{{ define "opsgenie.default.description" }}{{ .CommonAnnotations.SortedPairs.Values | join " " }}\n'
    '{{ if .Alerts.Firing }}Firing:\n{{ template "__text_alert_list" .Alerts.Firing }}{{ end }}'
    '{{ if .Alerts.Resolved }}Resolved:\n{{ template "__text_alert_list" .Alerts.Resolved }}{{ end }}{{ end }}'
    '{{ define "opsgenie.default.source" }}{{ template "__alertmanagerURL" . }}{{ end }}',
    '{{ define "email.default.subject" }}{{ template "__subject" . }}{{ end }}'
    '{{ define "email.default.text" }}{{ template "__subject" . }}\n\n{{ template "__text_alert_list" .Alerts }}'
    "\n{{ .ExternalURL }}\n{{ end }}"
    '{{ define "email.default.html" }}<!DOCTYPE html><html><body style="font-family:sans-serif">'
    '<h2>{{ template "__subject" . }}</h2>{{ range .Alerts }}'
    '<h3 style="color:{{ if eq .Status "firing" }}#b00020{{ else }}#1b7f3b{{ end }}">{{ .Status }}: '
    "{{ .Labels.alertname }}</h3>"
    "<p>{{ .Annotations.summary }}</p><table>{{ range .Labels.SortedPairs }}"
    "<tr><td>{{ .Name }}</td><td><b>{{ .Value }}</b></td></tr>{{ end }}"
    "{{ range .Annotations.SortedPairs }}<tr><td>{{ .Name }}</td><td>{{ .Value }}</td></tr>{{ end }}</table>"
    '{{ if .GeneratorURL }}<p><a href="{{ .GeneratorURL }}">Source</a></p>{{ end }}{{ end }}'
    '<p><a href="{{ .ExternalURL }}">Open the console</a></p></body></html>{{ end }}',
)
