{{- define "gateway302.labels" -}}
app.kubernetes.io/name: gateway302
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway302.checks" -}}
{{- if gt (int .Values.replicas) 1 }}
{{- if not (and .Values.shared.database .Values.shared.redis) }}
{{- fail "More than one replica need a PostgreSQL and a Redis that they share: put their URLs into the Secret and set shared.database and shared.redis to true." }}
{{- end }}
{{- end }}
{{- end }}
