package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// privilegedContainer is the container of a privileged pod. hostRoot is where it has the file
// system of its node.
const (
	privilegedContainer = "masq-cni"
	hostRoot            = "/host"
)

// privilegedDeadline ends a privileged pod that was not deleted, because this program was
// killed or the API server was not reachable.
const privilegedDeadline = 15 * time.Minute

// startTimeout and deleteTimeout bound the start of privileged pods, whose image the node usually
// has, and their deletion.
const (
	startTimeout  = 3 * time.Minute
	deleteTimeout = 30 * time.Second
)

// object is an API object or a part of it.
type object = map[string]any

// privilegedPod returns a pod in which masq-cni can do what root can do on the node: enter
// containers, and read all files. It has the network, the process IDs and the file system of
// the node. The root file system is read-only, so that a mistake does not change its files. File
// systems mounted below it are not; masq-cni has its state in /run.
func privilegedPod(a agent, name string) object {
	fromHost := func(volume, path string, readOnly bool) object {
		// Containers that start later must be visible: the runtime mounts their namespaces in /run.
		return object{"name": volume, "mountPath": path, "readOnly": readOnly, "mountPropagation": "HostToContainer"}
	}
	spec := object{
		"nodeName":                      a.node,
		"hostNetwork":                   true,
		"hostPID":                       true,
		"automountServiceAccountToken":  false,
		"enableServiceLinks":            false,
		"restartPolicy":                 "Never",
		"activeDeadlineSeconds":         int(privilegedDeadline.Seconds()),
		"terminationGracePeriodSeconds": 1,
		"tolerations":                   []any{object{"operator": "Exists"}},
		"containers": []any{object{
			"name": privilegedContainer, "image": a.image, "imagePullPolicy": "IfNotPresent",
			"command":         []string{program, "pause"},
			"securityContext": object{"privileged": true, "readOnlyRootFilesystem": true, "runAsUser": 0, "runAsGroup": 0},
			"volumeMounts":    []any{fromHost("root", hostRoot, true), fromHost("run", hostRoot+"/run", false)},
		}},
		"volumes": []any{
			object{"name": "root", "hostPath": object{"path": "/", "type": "Directory"}},
			object{"name": "run", "hostPath": object{"path": "/run", "type": "Directory"}},
		},
	}
	if len(a.pullSecrets) > 0 {
		spec["imagePullSecrets"] = a.pullSecrets
	}
	return object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name": name, "namespace": a.namespace,
			// Not the labels of the DaemonSet's pods.
			"labels": object{"app.kubernetes.io/name": "kubectl-masq"},
		},
		"spec": spec,
	}
}

// privileged starts a privileged pod on the node of each agent. It returns these pods as
// agents. remove deletes the pods, and must be called after an error too.
func (k kubectl) privileged(ctx context.Context, agents []agent) (out []agent, remove func() error, err error) {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	var pods []any
	var names []string
	for i, a := range agents {
		name := fmt.Sprintf("masq-cni-privileged-%s-%d", hex.EncodeToString(random[:]), i)
		names = append(names, name)
		pods = append(pods, privilegedPod(a, name))
		a.pod, a.privileged = name, true
		out = append(out, a)
	}
	namespace := "--namespace=" + agents[0].namespace
	remove = func() error {
		// The pods are deleted also if Ctrl-C ended the command, or is pressed again. kubectl
		// inherits that the signal is ignored.
		signal.Ignore(os.Interrupt)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		args := append([]string{"delete", "pod", namespace, "--ignore-not-found", "--wait=false"}, names...)
		if err := k.act(ctx, nil, args...); err != nil {
			return fmt.Errorf("%w; the pod ends after %s at the latest, delete it with: kubectl %s", err, privilegedDeadline, strings.Join(args, " "))
		}
		return nil
	}
	if err := k.act(ctx, object{"apiVersion": "v1", "kind": "List", "items": pods}, "create", namespace, "--filename=-"); err != nil {
		return nil, remove, fmt.Errorf("create a privileged pod: %w", err)
	}
	args := append([]string{"wait", "pod", namespace, "--for=condition=Ready", "--timeout=" + startTimeout.String()}, names...)
	if err := k.act(ctx, nil, args...); err != nil {
		err = fmt.Errorf("start a privileged pod: %w", err)
		if ctx.Err() == nil {
			err = errors.Join(err, k.notStarted(ctx, out))
		}
		return nil, remove, err
	}
	return out, remove, nil
}

// notStarted returns why privileged pods do not run.
func (k kubectl) notStarted(ctx context.Context, agents []agent) (err error) {
	for _, a := range agents {
		var p pod
		if e := k.get(ctx, &p, "pod", a.pod, "--namespace="+a.namespace); e != nil {
			return errors.Join(err, e)
		}
		if state := p.state(privilegedContainer); state != "" {
			err = errors.Join(err, fmt.Errorf("pod %s/%s on node %s: its container is %s", a.namespace, a.pod, a.node, state))
		}
	}
	return err
}

// act runs kubectl, with an object as its standard input if there is one. It discards the
// output; the error has kubectl's message.
func (k kubectl) act(ctx context.Context, input object, args ...string) error {
	c := k.command(ctx, args...)
	if input != nil {
		b, err := json.Marshal(input)
		if err != nil {
			return err
		}
		c.Stdin = bytes.NewReader(b)
	}
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = io.Discard, &stderr
	if err := c.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return fmt.Errorf("kubectl %s: %s", args[0], text)
		}
		return fmt.Errorf("kubectl %s: %w", args[0], err)
	}
	return nil
}
