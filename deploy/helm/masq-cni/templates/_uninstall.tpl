{{- define "uninstall" -}}
- name: {{ .name }}
  image: {{ .image }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  command: ["/masq-cni", "uninstall"]
  args:
    - --bin-dir=/host/opt/cni/bin
    - --conf-dir=/host/etc/cni/net.d
    - --plugin=/masq
    - --state-dir=/host/run/masq-cni
    # Remove masq even if pods use it: these pods keep their network, without masq.
    - --force
    {{- range .args }}
    - {{ . }}
    {{- end }}
  resources:
    {{- toYaml .values.resources.install | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: ["ALL"]
      # Deletes the nftables table.
      add: ["NET_ADMIN"]
  volumeMounts:
    - name: run
      mountPath: /host/run
    - name: cni-bin
      mountPath: /host/opt/cni/bin
    - name: cni-conf
      mountPath: /host/etc/cni/net.d
{{- end }}
