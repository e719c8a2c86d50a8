{{- define "onsen.labels" -}}
k8s-app: {{ .Values.name }}
app.kubernetes.io/name: onsen
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "onsen.serviceAccount" -}}
{{- .Values.serviceAccount.name | default .Values.name }}
{{- end }}

{{- define "onsen.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Variables that are set, in the order of their names. */ -}}
{{- define "onsen.env" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "onsen.probe" -}}
exec:
  command:
    - /app/grpc-health-probe
    - -addr=unix://{{ .Values.env.ONSEN_SOCKET | default "/var/run/aws-node/ipamd.sock" }}
    - -connect-timeout=5s
    - -rpc-timeout=5s
timeoutSeconds: 10
{{- end }}
