{{- define "masq-cni.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The name of the release if it contains the name of the chart, as in other charts. */ -}}
{{- define "masq-cni.fullname" -}}
{{- $name := include "masq-cni.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Kubernetes does not allow a selector to change: it must not contain the version. */ -}}
{{- define "masq-cni.selectorLabels" -}}
app.kubernetes.io/name: {{ include "masq-cni.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "masq-cni.labels" -}}
{{ include "masq-cni.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
