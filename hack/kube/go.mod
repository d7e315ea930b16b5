// The versions are in 1.34.mod and 1.37.mod: hack/kube-build takes one of them
// with -modfile, which asks for a go.mod all the same.
module github.com/masq-cni/masq-cni/hack/kube
