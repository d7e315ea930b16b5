package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// label selects the pods of the DaemonSet. container and program are where masq-cni is in
// them.
const (
	label     = "app.kubernetes.io/name=masq-cni"
	container = "masqd"
	program   = "/masq-cni"
)

// kubectl is the program kubectl, with the flags that were given for it.
type kubectl struct{ flags []string }

func (k kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "kubectl", slices.Concat(k.flags, args)...)
}

// get reads objects into v. It does not change v if there are none.
func (k kubectl) get(ctx context.Context, v any, args ...string) error {
	c := k.command(ctx, append([]string{"get", "-o", "json", "--ignore-not-found"}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("kubectl is not on PATH; install it, or add its directory to PATH")
	case err != nil:
		return fmt.Errorf("kubectl get %s: %s", strings.Join(args, " "), cmp.Or(strings.TrimSpace(stderr.String()), err.Error()))
	case len(bytes.TrimSpace(out)) == 0:
		return nil
	}
	if err := json.Unmarshal(out, v); err != nil {
		return fmt.Errorf("decode the output of kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// secret names a secret with which images are pulled.
type secret struct {
	Name string `json:"name"`
}

// pod has the fields of a pod that are used here.
type pod struct {
	Metadata struct {
		Name, Namespace   string
		DeletionTimestamp string
	}
	Spec struct {
		NodeName         string
		HostNetwork      bool
		Containers       []struct{ Name, Image string }
		ImagePullSecrets []secret
	}
	Status struct {
		Phase             string
		ContainerStatuses []struct {
			Name  string
			Ready bool
			State struct {
				Running             *struct{}
				Waiting, Terminated *struct{ Reason string }
			}
		}
	}
}

// pod returns a pod that is on a node and has its own network. Without a namespace it is the
// pod in kubectl's default namespace.
func (k kubectl) pod(ctx context.Context, namespace, name string) (*pod, error) {
	args := []string{"pod", name}
	full := name
	if namespace != "" {
		args = append(args, "--namespace="+namespace)
		full = namespace + "/" + name
	}
	var p pod
	if err := k.get(ctx, &p, args...); err != nil {
		return nil, err
	}
	switch {
	case p.Metadata.Name == "":
		return nil, fmt.Errorf("there is no pod %s; if it is in another namespace, give NAMESPACE/NAME", full)
	case p.Spec.HostNetwork:
		return nil, fmt.Errorf("pod %s has the network of its node, %s: its traffic is not masqueraded", full, p.Spec.NodeName)
	case p.Spec.NodeName == "":
		return nil, fmt.Errorf("pod %s is not on a node yet: its phase is %s", full, p.Status.Phase)
	case !isName(p.Metadata.Namespace) || !isName(p.Metadata.Name) || !isName(p.Spec.NodeName):
		return nil, fmt.Errorf("pod %s: the cluster names it %q on node %q, which are not names of Kubernetes objects; no command was run", full, p.Metadata.Namespace+"/"+p.Metadata.Name, p.Spec.NodeName)
	}
	return &p, nil
}

// nodeOfAddress returns the node that has an address, or that has a pod with this address. It
// returns "" for other addresses, such as an additional egress address.
func (k kubectl) nodeOfAddress(ctx context.Context, a netip.Addr) (string, error) {
	var nodes struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Addresses []struct{ Type, Address string }
			}
		}
	}
	if err := k.get(ctx, &nodes, "nodes"); err != nil {
		return "", err
	}
	for _, n := range nodes.Items {
		for _, x := range n.Status.Addresses {
			// An entry of type Hostname is not an address.
			if has, err := netip.ParseAddr(x.Address); err == nil && has == a && isName(n.Metadata.Name) {
				return n.Metadata.Name, nil
			}
		}
	}
	var pods struct{ Items []pod }
	// The field selector matches the first address of a pod only.
	if err := k.get(ctx, &pods, "pods", "--all-namespaces", "--field-selector=status.podIP="+a.String()); err != nil {
		return "", err
	}
	for _, p := range pods.Items {
		if !p.Spec.HostNetwork && isName(p.Spec.NodeName) {
			return p.Spec.NodeName, nil
		}
	}
	return "", nil
}

// agent is a pod in which masq-cni can be run.
type agent struct {
	namespace, pod, node string
	// A privileged pod gets the image and the pull secrets of masqd.
	image       string
	pullSecrets []secret
	// privileged is true for a pod that this program started.
	privileged bool
}

// agents returns the agent of a node, or of all nodes, sorted by the names of the nodes. With
// idleToo, the container need not run.
func (k kubectl) agents(ctx context.Context, namespace, node string, idleToo bool) ([]agent, error) {
	args := []string{"pods", "--namespace=" + namespace, "--selector=" + label}
	if node != "" {
		args = append(args, "--field-selector=spec.nodeName="+node)
	}
	var found struct{ Items []pod }
	if err := k.get(ctx, &found, args...); err != nil {
		return nil, err
	}
	var (
		out  []agent
		idle []error // pods whose container does not run
	)
	for _, p := range found.Items {
		switch state := p.state(container); {
		case p.Spec.NodeName == "" || !isName(p.Metadata.Namespace) || !isName(p.Metadata.Name) || !isName(p.Spec.NodeName):
		case slices.ContainsFunc(out, func(a agent) bool { return a.node == p.Spec.NodeName }): // an update replaces the pod
		case state == "" || idleToo:
			out = append(out, p.agent())
		default:
			idle = append(idle, fmt.Errorf("pod %s/%s on node %s: its container %s is %s", p.Metadata.Namespace, p.Metadata.Name, p.Spec.NodeName, container, state))
		}
	}
	slices.SortFunc(out, func(a, b agent) int { return cmp.Compare(a.node, b.node) })
	switch {
	case len(out) > 0:
		return out, nil
	case len(idle) > 0:
		return nil, errors.Join(idle...)
	case node != "":
		return nil, fmt.Errorf("node %s has no pod of masq-cni (label %s) in namespace %s; check the name of the node, and the namespace (--masq-namespace)", node, label, namespace)
	}
	return nil, fmt.Errorf("there is no pod of masq-cni (label %s) in namespace %s; give the namespace with --masq-namespace", label, namespace)
}

// agent returns a pod of masqd as an agent.
func (p *pod) agent() agent {
	a := agent{namespace: p.Metadata.Namespace, pod: p.Metadata.Name, node: p.Spec.NodeName, pullSecrets: p.Spec.ImagePullSecrets}
	for _, c := range p.Spec.Containers {
		if c.Name == container {
			a.image = c.Image
		}
	}
	return a
}

// state returns why no command can be run in a container of the pod, empty if one can.
func (p *pod) state(container string) string {
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.Name != container:
		case c.State.Running != nil:
			return ""
		case c.State.Waiting != nil:
			return "waiting: " + c.State.Waiting.Reason
		case c.State.Terminated != nil:
			return "terminated: " + c.State.Terminated.Reason
		}
	}
	return "not created yet"
}
