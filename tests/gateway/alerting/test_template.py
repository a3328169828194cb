"""The subset of Go templates: what it prints, and what it refuses."""

from __future__ import annotations

import pytest

from gateway.alerting.template import _SAMPLE_FIRING, _SAMPLE_RESOLVED, Texts
from gateway.alerting.template_syntax import TemplateProblem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain }} text", "plain }} text"),
        ("{{ .Status }}", "firing"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("a\n{{- .Status -}}\n b", "afiringb"),
        ("{{ .CommonLabels.severity | toUpper }}", "CRITICAL"),
        ('{{ if eq .Status "resolved" }}no{{ else if .Alerts }}yes{{ else }}no{{ end }}', "yes"),
        ("{{ range .Alerts }}{{ .Labels.instance }};{{ end }}", "a:1;a:1;"),
        ("{{ range $i, $a := .Alerts }}{{ $i }}{{ $a.Status }}{{ $.Status }} {{ end }}",
         "0firingfiring 1firingfiring "),
        ("{{ range .Alerts.Resolved }}x{{ else }}none{{ end }}", "none"),
        ("{{ with .CommonAnnotations.summary }}[{{ . }}]{{ end }}", "[a sample]"),
        ("{{ with .CommonLabels.absent }}x{{ else }}absent{{ end }}", "absent"),
        ("{{ $n := len .Alerts }}{{ $n = 5 }}{{ $n }}", "5"),
        ('{{ .GroupLabels.SortedPairs.Values | join "," }}', "Sample"),
        ("{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
         "alertname=Sample instance=a:1 job=job severity=critical "),
        ("{{ (index .Alerts 0).Labels.job }}", "job"),
        ('{{ printf "%s-%d-%5.1f%%" .Status (len .Alerts) 2.25 }}', "firing-2-  2.2%"),
        ('{{ define "own" }}<{{ . }}>{{ end }}{{ template "own" .Status }}', "<firing>"),
        ('{{ reReplaceAll "(f)i" "${1}o$2" .Status }}', "foring"),
        ("{{ `raw` }}{{ \"q\\\"\" }}", 'rawq"'),
        ("{{ if and .Alerts (not .Alerts.Resolved) }}ok{{ end }}", "ok"),
        ("{{ (.CommonLabels.Remove .GroupLabels.Names).Names }}", "[instance job severity]"),
        ('{{ if gt (len .Alerts) 1 }}s{{ end }}', "s"),
        ("{{ .ExternalURL | urlquery }}", "http%3A%2F%2F127.0.0.1"),
        ('{{ template "__subject" . }}', "[FIRING:2] Sample (a:1 job critical)"),
        ("{{ (index .Alerts 0).StartsAt }}", "2023-11-14T22:13:20Z"),
    ],
)  # fmt: skip
def test_texts(text: str, expected: str) -> None:
    texts = Texts()
    texts.check(text)
    assert texts.evaluate(text, _SAMPLE_FIRING) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Status",
        "{{ if .Status }}",
        "{{ end }}",
        "{{ .Nope }}",
        "{{ nope }}",
        '{{ template "nope" . }}',
        "{{ $x }}",
        "{{ }}",
        "{{ break }}",
        "{{ range .Status }}{{ end }}",
        "{{ .Status .Status }}",
        "{{ (len .Alerts }}",
        '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
        '{{ printf "%d" }}',
        '{{ printf "%999999999d" 1 }}',
        '{{ "\\x" }}',
        "{{ .CommonLabels.SortedPairs.__class__ }}",
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{ if true }}" * 3000 + "{{ end }}" * 3000,
        '{{ define "t0" }}{{ end }}'
        + "".join(f'{{{{ define "t{n + 1}" }}}}' + f'{{{{ template "t{n}" }}}}' * 40 + "{{ end }}" for n in range(5))
        + '{{ template "t5" }}',
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(TemplateProblem, match="line 1"):
        Texts().check(text)


def test_a_text_that_fails_only_on_real_data_still_tells() -> None:
    text = "{{ (index .Alerts 5).Status }}"
    with pytest.raises(TemplateProblem):
        Texts().evaluate(text, _SAMPLE_FIRING)
    assert Texts().render(text, _SAMPLE_RESOLVED).startswith("[RESOLVED] Sample (the text of this receiver failed")


def test_printed_values_are_escaped_in_html() -> None:
    text = '{{ "<b>" }}{{ "<i>" | safeHtml }}<u>'
    assert Texts().evaluate(text, _SAMPLE_FIRING, escape=True) == "&lt;b&gt;<i><u>"
