package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
)

// kubelet is one worker of a runtime. It adds and deletes containers, and its plugin calls
// may be killed.
type kubelet struct {
	w     *world
	n     int
	rnd   *rand.Rand
	confs []keys
	alive []*pod

	adds, dels, kills, abandoned, late int
	errs                               []error
}

// kill is the maximum life of a plugin that is to be killed: about the duration of a call
// while all workers run.
const kill = 60 * time.Millisecond

// call executes the plugin and reports whether it was killed.
func (k *kubelet) call(ctx context.Context, verb string, p *pod, conf keys) (killed bool, out []byte, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), long)
	defer cancel()
	c := call{verb: verb, id: p.runtime.ContainerID, netns: p.runtime.NetNS, conf: conf}
	cmd := k.w.Node.Command(ctx, pluginProgram(k.w.t))
	var answer bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout = c.env(k.w), bytes.NewReader(c.stdin(k.w.t)), &answer
	if err := cmd.Start(); err != nil {
		return false, nil, err
	}
	if k.rnd.IntN(3) == 0 {
		after := time.AfterFunc(upTo(k.rnd, kill), func() { _ = cmd.Process.Kill() })
		defer after.Stop()
	}
	err = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && ctx.Err() == nil {
		k.kills++
		return true, nil, nil
	}
	if err != nil {
		err = fmt.Errorf("%s of %s/%s: %w: %s", verb, conf["name"], p.runtime.ContainerID, err, answer.Bytes())
	}
	return false, answer.Bytes(), err
}

// one adds a container, and removes one if there are enough.
func (k *kubelet) one(ctx context.Context) error {
	id := fmt.Sprintf("k%d-%d", k.n, k.adds)
	n, err := k.w.lab.Namespace(id)
	if err != nil {
		return err
	}
	p := &pod{NS: n, w: k.w, runtime: &libcni.RuntimeConf{ContainerID: id, NetNS: n.Path(), IfName: "eth0"}}
	conf := k.confs[k.rnd.IntN(len(k.confs))]
	p.list = k.w.namedConflist(conf["name"].(string), "1.1.0", conf.With(keys{"name": nil}))
	killed, out, err := k.call(ctx, "ADD", p, conf)
	k.adds++
	switch {
	case err != nil:
		return err
	case killed:
		return k.let(ctx, p, conf)
	}
	if err := json.Unmarshal(out, &p.result); err != nil {
		return fmt.Errorf("ADD of %s says %s: %w", p.runtime.ContainerID, out, err)
	}
	k.alive = append(k.alive, p)
	if len(k.alive) < 4 {
		return nil
	}
	i := k.rnd.IntN(len(k.alive))
	p = k.alive[i]
	k.alive = slices.Delete(k.alive, i, i+1)
	return k.let(ctx, p, k.confOf(p))
}

func (k *kubelet) confOf(p *pod) keys {
	return k.confs[slices.IndexFunc(k.confs, func(c keys) bool { return c["name"] == p.list.Name })]
}

// let removes a container: by DEL before or after its namespace is deleted, repeated if it
// was killed, or without DEL.
func (k *kubelet) let(ctx context.Context, p *pod, conf keys) error {
	how := k.rnd.IntN(10)
	if how < 3 {
		if err := p.Close(); err != nil {
			return err
		}
	}
	if how == 0 {
		k.abandoned++
		return nil
	}
	if how < 3 {
		k.late++
	}
	for {
		killed, _, err := k.call(ctx, "DEL", p, conf)
		k.dels++
		if err != nil {
			return err
		}
		if !killed {
			return p.Close()
		}
	}
}

// run works until the context ends.
func (k *kubelet) run(ctx context.Context) {
	for ctx.Err() == nil && len(k.errs) < 5 {
		if err := k.one(ctx); err != nil {
			k.errs = append(k.errs, err)
		}
	}
}
