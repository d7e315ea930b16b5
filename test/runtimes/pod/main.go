// Command pod is the only program in the image of the tests' containers.
//
//	pod                          waits for its end
//	pod ask ADDRESS:PORT         asks a server of nstest and waits for the answer
//	pod say ADDRESS:PORT WORD    sends a datagram
//	pod talk ADDRESS:PORT        opens one connection and sends lines until it is stopped
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	// The kernel does not apply the default action of a signal to the first process of a
	// container.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var err error
	switch {
	case len(args) == 0:
		<-ctx.Done()
	case args[0] == "ask" && len(args) == 2:
		err = ask(args[1])
	case args[0] == "say" && len(args) == 3:
		err = say(args[1], args[2])
	case args[0] == "talk" && len(args) == 2:
		err = talk(ctx, args[1])
	default:
		err = fmt.Errorf("unknown command %q", args)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "pod:", err)
		return 1
	}
	return 0
}

func ask(server string) error {
	c, err := net.DialTimeout("tcp", server, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "WHO\n"); err != nil {
		return err
	}
	_, err = bufio.NewReader(c).ReadString('\n')
	return err
}

func say(server, word string) error {
	c, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, word)
	return errors.Join(err, c.Close())
}

// talk fails when an answer does not come.
func talk(ctx context.Context, server string) error {
	c, err := net.DialTimeout("tcp", server, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "ECHO\n"); err != nil {
		return err
	}
	answers := bufio.NewReader(c)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "still there?\n"); err != nil {
			return err
		}
		if _, err := answers.ReadString('\n'); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
	}
}
