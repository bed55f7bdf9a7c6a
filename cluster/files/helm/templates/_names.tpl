{{/* KubeRay adds six characters for each cluster, and its names may have 53. */}}
{{- define "dispatcher.name" -}}
{{- if gt (len .Release.Name) 47 -}}
{{- fail (printf "the release's name %s has more than the 47 characters that KubeRay allows" .Release.Name) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{- define "dispatcher.image" -}}
{{- with .Values.image -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "dispatcher.configurationName" -}}
{{- .Values.configurationName | default (printf "config-%s.yaml" (sha256sum .Values.configuration | trunc 10)) -}}
{{- end -}}

{{- define "dispatcher.labels" -}}
app.kubernetes.io/instance: {{ include "dispatcher.name" . }}
{{- end -}}
