# hack/image first builds the programs for each platform. This file only copies them: it fetches
# nothing and runs nothing.
FROM scratch
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="masq-cni" \
      org.opencontainers.image.description="CNI masquerading with nftables" \
      org.opencontainers.image.source="https://github.com/masq-cni/masq-cni" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --chmod=755 dist/${TARGETOS}_${TARGETARCH}/masq dist/${TARGETOS}_${TARGETARCH}/masqd dist/${TARGETOS}_${TARGETARCH}/masq-cni /
COPY --chmod=644 dist/${TARGETOS}_${TARGETARCH}/sbom.cdx.json /
# install replaces files of root, and only root gets CAP_NET_ADMIN. The manifests drop all other
# capabilities.
USER 0:0
ENTRYPOINT ["/masqd"]
