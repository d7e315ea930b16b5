// Package deploy proves what deploy/, Dockerfile and hack/image promise: with the real
// helm and kustomize that the plain manifest, the overlays and the chart are the same
// objects, with promtool and a Prometheus that scrapes a real masqd that the alerts and
// the dashboard ask for what there is, and with two builds that the image is the same
// bytes.
//
// The package is a module of its own: the API's types and Prometheus are no dependency
// of the product.
//
// The Makefile builds the programs of the product into $MASQ_BIN and helm, kustomize and
// promtool into $MASQ_DEPLOY. Tests of the image need buildah, those of masqd root; where
// one is missing they fail. Files that are generated are written anew by make manifests.
package deploy
