{{/* The applications of serve.yaml: one for each vendor of the configuration, so that a change restarts its own pool. */}}
{{- define "dispatcher.serveConfig" -}}
{{- $settings := fromYaml .Values.configuration -}}
{{- if $settings.Error }}{{ fail (printf "configuration: %s" $settings.Error) }}{{ end -}}
{{- if not $settings.vendors }}{{ fail "configuration: it names no vendors; give your file with --set-file configuration=config.yaml" }}{{ end -}}
{{- $config := printf "/etc/dispatcher/%s" (include "dispatcher.configurationName" .) -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
applications:
  - name: supervisor
    route_prefix: null
    import_path: serve_app.builders:supervisor
    args:
      config: {{ $config }}
      redis_url: ${DISPATCHER_REDIS_URL}
{{- range $name := keys $settings.vendors | sortAlpha }}
  - name: vendor-{{ $name }}
    route_prefix: null
    import_path: serve_app.builders:vendor
    args:
      config: {{ $config }}
      redis_url: ${DISPATCHER_REDIS_URL}
      vendor: {{ $name }}
{{- end }}
  - name: intake
    route_prefix: /
    import_path: serve_app.builders:intake
    args:
      config: {{ $config }}
      redis_url: ${DISPATCHER_REDIS_URL}
      api_keys: /etc/dispatcher-keys/api_keys.json
{{- end -}}
