module github.com/masq-cni/masq-cni

go 1.26.0
