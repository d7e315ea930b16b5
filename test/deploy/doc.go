// Package deploy tests deploy/, Dockerfile and hack/image. The real helm and kustomize show
// that the plain manifest, the overlays and the chart render the same objects. promtool and a
// Prometheus that scrapes a real masqd show that the queries of alerts and dashboard have
// answers. Two builds show that the image is reproducible.
//
// The package is a separate module: the product does not depend on the API's types or on
// Prometheus.
//
// The Makefile builds the programs of the product into $MASQ_BIN, and helm, kustomize and
// promtool into $MASQ_DEPLOY. Tests of the image need buildah, tests of masqd need root; they
// fail if one is missing. make manifests updates the generated files.
package deploy
