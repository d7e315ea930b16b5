package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// question is a command for masq-cni, and the nodes that are to run it.
type question struct {
	flags         []string // for kubectl
	words         []string // for masq-cni
	namespace     string
	masqNamespace string
	node          string
	all           bool
	privileged    bool
}

// kubectlFlags are the flags that every command of kubectl has (kubectl options); true if
// the flag has a value. -v is a flag of masq-cni.
var kubectlFlags = map[string]bool{
	"as": true, "as-group": true, "as-uid": true, "as-user-extra": true, "cache-dir": true, "certificate-authority": true,
	"client-certificate": true, "client-key": true, "cluster": true, "context": true, "disable-compression": false,
	"insecure-skip-tls-verify": false, "kubeconfig": true, "kuberc": true, "log-flush-frequency": true,
	"match-server-version": false, "password": true, "profile": true, "profile-output": true, "request-timeout": true,
	"server": true, "tls-server-name": true, "token": true, "user": true, "username": true, "v": true, "vmodule": true,
	"warnings-as-errors": false,
}

var shorthands = map[string]string{"-n": "--namespace", "-s": "--server"}

// parse separates the flags of kubectl and of this program from the arguments of masq-cni.
// All arguments after -- are passed to masq-cni.
func parse(args []string) (*question, error) {
	q := &question{masqNamespace: "kube-system"}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			q.words = append(q.words, args...)
			break
		}
		name, value, given := strings.Cut(arg, "=")
		if long, is := shorthands[name]; is {
			name = long
		}
		var to *string
		switch name {
		case "--all-nodes":
			q.all = !given || value == "true"
			continue
		case "--privileged":
			q.privileged = !given || value == "true"
			continue
		case "--node":
			to = &q.node
		case "--masq-namespace":
			to = &q.masqNamespace
		case "--namespace":
			to = &q.namespace
		}
		hasValue, isKubectl := kubectlFlags[strings.TrimPrefix(name, "--")]
		isKubectl = isKubectl && strings.HasPrefix(name, "--")
		if to == nil && !isKubectl {
			q.words = append(q.words, arg)
			continue
		}
		if !given && (to != nil || hasValue) {
			if len(args) == 0 {
				return nil, fmt.Errorf("%s has no value; give one after it", arg)
			}
			value, given, args = args[0], true, args[1:]
		}
		switch {
		case to != nil && value == "":
			return nil, fmt.Errorf("%s is empty; give a name", name)
		case to != nil:
			*to = value
		case given:
			q.flags = append(q.flags, name+"="+value)
		default:
			q.flags = append(q.flags, name)
		}
	}
	for name, value := range map[string]string{"--node": q.node, "--namespace": q.namespace, "--masq-namespace": q.masqNamespace} {
		if value != "" && !isName(value) {
			return nil, fmt.Errorf("%s %q is not a name of a Kubernetes object; use only lowercase letters, digits, dashes and dots", name, value)
		}
	}
	if q.node != "" && q.all {
		return nil, fmt.Errorf("--node %s and --all-nodes contradict each other; give only one of them", q.node)
	}
	return q, nil
}

func (q *question) watches() bool {
	return slices.Contains(q.words, "--watch") || slices.Contains(q.words, "--watch=true")
}

// prompts reports whether masq-cni asks before it applies fixes.
func (q *question) prompts() bool {
	return q.is("doctor") && slices.Contains(q.words, "--fix") && !slices.Contains(q.words, "--yes")
}

// completes reports whether a shell requests completions.
func (q *question) completes() bool {
	return q.words[0] == "__complete" || q.words[0] == "__completeNoDesc"
}

// is reports whether the command begins with words.
func (q *question) is(words ...string) bool {
	return len(q.words) >= len(words) && slices.Equal(q.words[:len(words)], words)
}

// format returns the value of -o, empty if it is not given.
func (q *question) format() string {
	for i, w := range q.words {
		switch name, value, given := strings.Cut(w, "="); {
		case name != "-o" && name != "--output":
			if short, is := strings.CutPrefix(w, "-o"); is && short != "" && !strings.HasPrefix(w, "--") {
				return short
			}
		case given:
			return value
		case i+1 < len(q.words):
			return q.words[i+1]
		}
	}
	return ""
}

// locate returns the node that is to answer, or "" for all nodes. It adds the namespace to a
// pod that was given without one.
func (q *question) locate(ctx context.Context, k kubectl) (string, error) {
	switch {
	case q.node != "":
		return q.node, nil
	case q.all, q.completes():
		return "", nil
	}
	if at, name := q.pod(); at != nil {
		namespace, pod, qualified := strings.Cut(name, "/")
		if !qualified {
			namespace, pod = q.namespace, name
			if namespace == "" && containerID.MatchString(name) {
				return "", nil
			}
		}
		if !isName(pod) || qualified && !isName(namespace) {
			return "", fmt.Errorf("%q is not the name of a pod; give NAMESPACE/NAME", name)
		}
		p, err := k.pod(ctx, namespace, pod)
		if err != nil {
			return "", err
		}
		*at = strings.TrimSuffix(*at, name) + p.Metadata.Namespace + "/" + p.Metadata.Name
		return p.Spec.NodeName, nil
	}
	if a, is := q.address(); is {
		return k.nodeOfAddress(ctx, a)
	}
	return "", nil
}

// objectName matches the names that Kubernetes accepts for objects (RFC 1123 subdomain). Such
// a name is not a flag of kubectl or a selector, and is safe to print.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func isName(s string) bool { return objectName.MatchString(s) }

// containerID matches the beginning of a container's ID.
var containerID = regexp.MustCompile(`^[0-9a-f]{6,64}$`)

// valueFlags are the flags of inspect pod and doctor pod whose value is the next argument.
var valueFlags = []string{"-o", "--output", "--to", "--html", "--conf-dir", "--bin-dir", "--nat-log", "--root", "--state-dir", "--netns"}

// examinesPod reports whether the command is about one pod, its third word.
func (q *question) examinesPod() bool { return q.is("inspect", "pod") || q.is("doctor", "pod") }

// searches reports whether the command searches for something that one node has.
func (q *question) searches() bool { return q.is("who") || q.examinesPod() }

// notFound reports whether a node with this exit code does not have what the command searches
// for, or could not search. doctor pod ends with 1 for a container with findings.
func (q *question) notFound(code int) bool { return code > 1 || code == 1 && !q.is("doctor") }

// saysNotFound reports whether a node with this exit code has searched, and found nothing.
func (q *question) saysNotFound(code int) bool {
	if q.is("doctor") {
		return code == exitQueryFailed
	}
	return code == 1
}

// pod returns the word that names a pod, and the name in it. Without such a word, at is nil.
func (q *question) pod() (at *string, name string) {
	for i := range q.words {
		w := &q.words[i]
		before := ""
		if i > 0 {
			before = q.words[i-1]
		}
		value, given := strings.CutPrefix(*w, "--pod=")
		switch {
		case given:
			return w, value
		case before == "--pod":
			return w, *w
		case q.examinesPod() && i >= 2 && !strings.HasPrefix(*w, "-") && !slices.Contains(valueFlags, before):
			return w, *w
		}
	}
	return nil, ""
}

// address returns the address in the arguments of the command who.
func (q *question) address() (netip.Addr, bool) {
	if !q.is("who") {
		return netip.Addr{}, false
	}
	for _, w := range q.words[1:] {
		endpoint, _, _ := strings.Cut(w, "/")
		if ap, err := netip.ParseAddrPort(endpoint); err == nil {
			return ap.Addr(), true
		}
	}
	return netip.Addr{}, false
}
