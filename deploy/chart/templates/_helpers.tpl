{{/* The name of everything: the release's, with the chart's where it does not say it. */}}
{{- define "fyre.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "fyre.selector" -}}
app.kubernetes.io/name: fyre
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "fyre.labels" -}}
{{ include "fyre.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "fyre.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "fyre.name" .) }}
{{- else }}{{ required "serviceAccount.name: which one, if not one of the chart's?" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "fyre.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* fyre.yaml: what was said goes before what the chart knows. */}}
{{- define "fyre.config" -}}
{{- $secrets := "/etc/fyre/secrets" }}
{{- $said := .Values.config }}
{{- $_ := required "config.url: the address of the receiver as browsers reach it, such as https://fyre.example.org" $said.url }}
{{- $known := dict
  "listen" "0.0.0.0:8020" "state" "/var/lib/fyre" "engine" "kubernetes" "policy" "/etc/fyre/policy/policy.yaml"
  "relay" (printf "0.0.0.0:%d" (int .Values.relay.port))
  "relayUrl" (.Values.relay.url | default (printf "http://%s-relay.%s.svc:%d" (include "fyre.name" .) .Release.Namespace (int .Values.relay.port)))
  "keyFile" (printf "%s/%s" $secrets .Values.secret.key) "logFormat" "json" }}
{{- if $said.appId }}{{ $_ := set $known "appPrivateKeyFile" (printf "%s/%s" $secrets .Values.secret.appPrivateKey) }}
{{- else }}{{ $_ := set $known "tokenFile" (printf "%s/%s" $secrets .Values.secret.token) }}{{ end }}
{{- if not $said.poll }}{{ $_ := set $known "webhookSecretFile" (printf "%s/%s" $secrets .Values.secret.webhook) }}{{ end }}
{{- if .Values.state.persistent }}{{ $_ := set $known "logStore" "/var/lib/fyre/kubernetes/logs" }}{{ end }}
{{- if and .Values.outputs.enabled (or .Values.state.persistent $said.artifactStore) }}{{ $_ := set $known "uploadImage" (.Values.outputs.image | default (include "fyre.image" .)) }}{{ end }}
{{- merge (dict) $said $known | toYaml }}
{{- end }}

{{/* What the Roles are for, as fyre/engines/kubernetes/rbac.py reads it out of a policy: {namespaces: …, secrets: …}. */}}
{{- define "fyre.runs" -}}
{{- $namespaces := .Values.runs.namespaces }}
{{- $secrets := .Values.runs.secrets }}
{{- if .Values.existingPolicy }}
{{- if not $namespaces }}{{ fail "runs.namespaces: which does the policy in existingPolicy name? they get the Roles" }}{{ end }}
{{- else }}
{{- $policy := fromYaml .Values.policy }}
{{- with $policy.Error }}{{ fail (printf "policy: %s" .) }}{{ end }}
{{- $namespaces = prepend (values ($policy.namespaces | default dict) | sortAlpha) ($policy.namespace | default "default") }}
{{- range $name, $profile := $policy.profiles }}
{{- with ($profile | default dict).namespace }}{{ $namespaces = append $namespaces . }}{{ end }}
{{- with (($profile | default dict).kubernetes | default dict).namespace }}{{ $namespaces = append $namespaces . }}{{ end }}
{{- range concat (($profile | default dict).secrets | default list) (($profile | default dict).allowSecrets | default list) }}
{{- if not (regexMatch "[*?[]" .) }}{{ $secrets = append $secrets . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "namespaces" (uniq $namespaces) "secrets" (uniq $secrets | sortAlpha) | toYaml }}
{{- end }}
