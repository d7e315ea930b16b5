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

// serviceAccount is the directory of the credentials of a pod.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// cluster is an API server with the credentials of a pod. It sends one request, so it does
// not need client-go, which would add 4 MB and 120 packages.
type cluster struct {
	server      string
	credentials string // directory
	userAgent   string
}

// inCluster returns the cluster of the pod that this program runs in.
func inCluster(env func(string) string, userAgent string) (cluster, error) {
	host, port := env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")
	if host == "" {
		return cluster{}, errors.New("KUBERNETES_SERVICE_HOST is not set, so this program does not run in a pod; give --pod-cidr")
	}
	return cluster{server: "https://" + net.JoinHostPort(host, cmp.Or(port, "443")), credentials: serviceAccount, userAgent: userAgent}, nil
}

// awaitRanges waits until the API server can be reached and the node has pod ranges, which
// kube-controller-manager assigns.
func (c cluster) awaitRanges(ctx context.Context, node string, report reporter) ([]netip.Prefix, error) {
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

// ranges returns spec.podCIDRs of a node.
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
		return nil, fmt.Errorf("decode the Node from the API server: %w", err)
	}
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if len(n.Spec.PodCIDRs) == 0 {
		return nil, errors.New("it has no spec.podCIDRs; kube-controller-manager assigns them with --allocate-node-cidrs")
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
	// Read both files for each request: the kubelet replaces the token before it expires.
	token, err := os.ReadFile(filepath.Join(c.credentials, "token"))
	if err != nil {
		return nil, fmt.Errorf("read the token of the service account: %w; the pod needs automountServiceAccountToken", err)
	}
	authority, err := os.ReadFile(filepath.Join(c.credentials, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of the service account: %w", err)
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
		return nil, fmt.Errorf("the service account is not allowed to get %s; bind it to a role that allows it", path)
	case http.StatusNotFound:
		return nil, fmt.Errorf("the API server has no %s; --node-name is the name of the Node, as kubectl get nodes lists it", path)
	}
	var says struct{ Message string }
	_ = json.Unmarshal(body, &says) // if the body is not a Status, answer.Status tells enough
	return nil, fmt.Errorf("the API server answers: %s %s", answer.Status, masq.Clip(says.Message))
}
