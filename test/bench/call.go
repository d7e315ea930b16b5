package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"golang.org/x/sys/unix"
)

// call is a prepared call of a plugin: only its process must be started.
type call struct {
	*attachment
	verb   string
	cmd    *exec.Cmd
	output *os.File
}

// ready prepares a call in the form of libcni. The configuration is in a pipe and the result goes
// to memory, so that no goroutine must copy them during the measurement.
func (a *attachment) ready(ctx context.Context, verb string) (_ *call, err error) {
	conf := maps.Clone(a.conf)
	if verb == "DEL" || verb == "CHECK" {
		conf["prevResult"] = a.result
	}
	stdin, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	c := &call{attachment: a, verb: verb, cmd: exec.CommandContext(ctx, a.program)}
	args := invoke.Args{Command: verb, ContainerID: a.id, NetNS: a.pod.Path(), IfName: "eth0", Path: a.path}
	c.cmd.Env = args.AsEnv()
	c.cmd.Stderr = os.Stderr
	fd, err := unix.MemfdCreate("result", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	c.output = os.NewFile(uintptr(fd), "result")
	c.cmd.Stdout = c.output
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, c.output.Close())
	}
	c.cmd.Stdin = read
	_, err = write.Write(stdin) // a pipe holds 64 KiB
	if err = errors.Join(err, write.Close()); err != nil {
		return nil, errors.Join(err, read.Close(), c.output.Close())
	}
	return c, nil
}

// end reads the result and closes the files of the call.
func (c *call) end(failed error) error {
	out := make([]byte, 1<<16)
	n, _ := c.output.ReadAt(out, 0) // always io.EOF
	if c.fails {
		failed = c.expected(failed)
	}
	err := errors.Join(failed, c.output.Close(), c.cmd.Stdin.(*os.File).Close())
	if err != nil {
		return fmt.Errorf("%s of %s: %w\n%s", c.verb, c.program, err, out[:n])
	}
	if c.verb == "ADD" && !c.fails {
		c.result = out[:n:n]
	}
	return nil
}

// expected returns nil for the failure of a call that must fail.
func (c *call) expected(failed error) error {
	exit, is := errors.AsType[*exec.ExitError](failed)
	switch {
	case failed == nil:
		return errors.New("the call succeeds, but must fail")
	case is && exit.ExitCode() == 1:
		return nil
	}
	return failed
}

// atOnce makes the same call for several attachments of one node concurrently. It returns the
// milliseconds from the start of the first process to the end of the last.
func atOnce(ctx context.Context, all []*attachment, verb string) (float64, error) {
	calls := make([]*call, len(all))
	for i, a := range all {
		c, err := a.ready(ctx, verb)
		if err != nil {
			return 0, err
		}
		calls[i] = c
	}
	var took time.Duration
	err := all[0].Do(func() error {
		errs := make([]error, len(calls))
		start := time.Now()
		for i, c := range calls {
			errs[i] = c.cmd.Start()
		}
		for i, c := range calls {
			if errs[i] == nil {
				errs[i] = c.cmd.Wait()
			}
		}
		took = time.Since(start)
		for i, c := range calls {
			errs[i] = c.end(errs[i])
		}
		return errors.Join(errs...)
	})
	return float64(took) / float64(time.Millisecond), err
}

// timed makes one call and returns the milliseconds that it takes.
func (a *attachment) timed(ctx context.Context, verb string) (float64, error) {
	return atOnce(ctx, []*attachment{a}, verb)
}

// inTurn makes the same call for all attachments of a node, a few at a time, without measuring.
func inTurn(ctx context.Context, all []*attachment, verb string) error {
	const few = 8
	for len(all) > 0 {
		n := min(few, len(all))
		if _, err := atOnce(ctx, all[:n], verb); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}
