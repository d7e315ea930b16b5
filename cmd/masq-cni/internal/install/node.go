package install

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// serviceAccount is where a pod finds its credentials.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// cluster is an API server, and what a pod is known by there. It takes one request for
// one field: client-go for that would be 4 MB, and 120 packages to keep up with.
type cluster struct {
	server      string
	credentials string // directory
	userAgent   string
}

// inCluster is the cluster of the pod that this program runs in.
func inCluster(env func(string) string, userAgent string) (cluster, error) {
	host, port := env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")
	if host == "" {
		return cluster{}, errors.New("KUBERNETES_SERVICE_HOST is not set: this is no pod; give --pod-cidr")
	}
	return cluster{server: "https://" + net.JoinHostPort(host, cmp.Or(port, "443")), credentials: serviceAccount, userAgent: userAgent}, nil
}

// awaitRanges waits until the node has pod ranges. The API server may not be there yet,
// nor the ranges: those come from kube-controller-manager.
func (c cluster) awaitRanges(ctx context.Context, node string, report installReport) ([]netip.Prefix, error) {
	wait, last := time.Second, ""
	for {
		ranges, err := c.ranges(ctx, node)
		if err == nil {
			return ranges, nil
		}
		if why := err.Error(); why != last && ctx.Err() == nil {
			report.waitingForRanges(node, why)
			last = why
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the pod ranges of node %s are not known: %s", masq.Quote(node), last)
		case <-time.After(wait):
			wait = min(2*wait, 10*time.Second)
		}
	}
}

// ranges asks for spec.podCIDRs of a node.
func (c cluster) ranges(ctx context.Context, node string) ([]netip.Prefix, error) {
	body, err := c.get(ctx, "/api/v1/nodes/"+url.PathEscape(node))
	if err != nil {
		return nil, err
	}
	var n struct {
		Spec struct {
			PodCIDR  string
			PodCIDRs []string
		}
	}
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("the Node that the API server returns: %w", err)
	}
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if len(n.Spec.PodCIDRs) == 0 {
		return nil, errors.New("it has no spec.podCIDRs; kube-controller-manager gives them with --allocate-node-cidrs")
	}
	var out []netip.Prefix
	for _, s := range n.Spec.PodCIDRs {
		p, bad := masq.ParsePrefix(s)
		if bad != nil {
			return nil, fmt.Errorf("spec.podCIDRs: %s: %s", masq.Quote(s), bad)
		}
		out = append(out, p)
	}
	return out, nil
}

func (c cluster) get(ctx context.Context, path string) ([]byte, error) {
	// Both are read each time: the kubelet replaces the token long before it ends.
	token, err := os.ReadFile(filepath.Join(c.credentials, "token"))
	if err != nil {
		return nil, fmt.Errorf("the service account's token: %w; the pod needs automountServiceAccountToken", err)
	}
	authority, err := os.ReadFile(filepath.Join(c.credentials, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the service account's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(c.credentials, "ca.crt"))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.userAgent)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
	}}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusForbidden:
		return nil, fmt.Errorf("the service account may not get %s; bind it to a role that allows it", path)
	case http.StatusNotFound:
		return nil, fmt.Errorf("the API server has no %s; --node-name is the name of the Node, as kubectl get nodes lists it", path)
	}
	var says struct{ Message string }
	_ = json.Unmarshal(body, &says) // where it is not a Status, the number has to do
	return nil, fmt.Errorf("the API server answers %s %s", answer.Status, masq.Clip(says.Message))
}
