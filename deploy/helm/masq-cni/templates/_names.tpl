{{- define "masq-cni.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name alone where it has the chart's in it, as other charts do. */ -}}
{{- define "masq-cni.fullname" -}}
{{- $name := include "masq-cni.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* A selector cannot be changed later: nothing in it changes with a version. */ -}}
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
