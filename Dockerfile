# hack/image builds the programs first, for each platform, and then this: nothing is
# fetched and nothing runs here.
FROM scratch
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="masq-cni" \
      org.opencontainers.image.description="Masquerades containers, and keeps it so" \
      org.opencontainers.image.source="https://github.com/masq-cni/masq-cni" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --chmod=755 dist/${TARGETOS}_${TARGETARCH}/masq dist/${TARGETOS}_${TARGETARCH}/masqd dist/${TARGETOS}_${TARGETARCH}/masq-cni /
COPY --chmod=644 dist/${TARGETOS}_${TARGETARCH}/sbom.cdx.json /
# Root's files are replaced by install, and CAP_NET_ADMIN is root's. The manifests give
# each container no more than it needs.
USER 0:0
ENTRYPOINT ["/masqd"]
