{{/* What the head's and the workers' pods share. The root file system is read-only: Ray and HAProxy write to /tmp and
     /dev/shm only, and KubeRay adds /dev/shm. */}}
{{- define "dispatcher.pod" -}}
# A Service called ray-… or dispatcher-… would otherwise set variables that begin with RAY_ or DISPATCHER_.
enableServiceLinks: false
terminationGracePeriodSeconds: 75
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: config
    configMap:
      name: {{ include "dispatcher.name" . }}-config
  - name: keys
    secret:
      secretName: {{ .Values.secrets.apiKeys.name }}
      items:
        - key: {{ .Values.secrets.apiKeys.key }}
          path: api_keys.json
{{- end -}}

{{- define "dispatcher.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "dispatcher.container" -}}
image: {{ include "dispatcher.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: DISPATCHER_REDIS_URL
    valueFrom:
      secretKeyRef:
        name: {{ .Values.secrets.redis.name }}
        key: {{ .Values.secrets.redis.key }}
  - name: HOME
    value: /tmp
securityContext:
  {{- include "dispatcher.restricted" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: config
    mountPath: /etc/dispatcher
    readOnly: true
  - name: keys
    mountPath: /etc/dispatcher-keys
    readOnly: true
{{- end -}}

{{- define "dispatcher.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "dispatcher.name" . }}-ray-settings
  - secretRef:
      name: {{ .Values.secrets.vendors }}
{{- end -}}

{{- define "dispatcher.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "dispatcher.resources" -}}
resources:
  requests:
    cpu: {{ .cpu | quote }}
    memory: {{ .memory }}
  limits:
    cpu: {{ .cpu | quote }}
    memory: {{ .memory }}
{{- end -}}
