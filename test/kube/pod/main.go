// Command pod is the only program in the pods of the tests: servers that tell a client its
// address as they see it, and clients. It needs no other file in its image.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	verbs := map[string]struct {
		args int
		do   func([]string) error
	}{
		"pause":  {0, pause},
		"serve":  {0, serve},
		"who":    {2, who},
		"send":   {2, send},
		"get":    {2, get},
		"ftp":    {3, ftp},
		"stream": {2, stream},
		"flows":  {2, flows},
	}
	if len(args) == 0 {
		return errors.New("pod: say what to do")
	}
	verb, known := verbs[args[0]]
	if !known || len(args) != 1+verb.args {
		return fmt.Errorf("pod: unknown command %q", args)
	}
	return verb.do(args[1:])
}

// pause waits for a signal.
func pause([]string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
	return nil
}

// serve answers each line by TCP, and each datagram by UDP, on port 8080 with the host name and
// the client's address.
func serve([]string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", ":8080")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					if _, err := fmt.Fprintln(c, name, c.RemoteAddr()); err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		b := make([]byte, 1<<16)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(fmt.Appendln(nil, name, from), from) // clients retry, so a lost answer does no harm
		}
	}()
	return pause(nil)
}

// who NETWORK ADDRESS prints this client's address as a server sees it.
func who(args []string) error {
	c, err := net.DialTimeout(args[0], args[1], patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "WHO\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Print(line)
	return nil
}

// send ADDRESS TEXT sends one datagram, and prints its source.
func send(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println(c.LocalAddr())
	_, err = io.WriteString(c, args[1])
	return err
}

// get ADDRESS SIZE downloads this number of bytes, and prints how many arrived.
func get(args []string) error {
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", args[0], patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %d\n", size); err != nil {
		return err
	}
	got, err := io.Copy(io.Discard, c)
	fmt.Println(got)
	if err == nil && got != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ftp active|passive ADDRESS FILE fetches a file and prints it.
func ftp(args []string) error {
	raw, err := net.DialTimeout("tcp", args[1], patience)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c := textproto.NewConn(raw)
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	say := func(want int, format string, a ...any) (string, error) {
		if err := c.PrintfLine(format, a...); err != nil {
			return "", err
		}
		_, text, err := c.ReadResponse(want)
		return text, err
	}
	for _, step := range []struct {
		want int
		say  string
	}{{331, "USER anonymous"}, {230, "PASS none"}, {200, "TYPE I"}} {
		if _, err := say(step.want, "%s", step.say); err != nil {
			return err
		}
	}
	var accept func() (net.Conn, error)
	if args[0] == "active" {
		own := raw.LocalAddr().(*net.TCPAddr)
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: own.IP})
		if err != nil {
			return err
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if own.IP.To4() != nil {
			_, err = say(200, "PORT %s,%d,%d", strings.ReplaceAll(own.IP.String(), ".", ","), port>>8, port&0xff)
		} else {
			_, err = say(200, "EPRT |2|%s|%d|", own.IP, port)
		}
		if err != nil {
			return err
		}
		if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		accept = l.Accept
	} else {
		text, err := say(229, "EPSV")
		if err != nil {
			return err
		}
		fields := strings.Split(text, "|")
		if len(fields) != 5 {
			return fmt.Errorf("no port in %q", text)
		}
		host, _, err := net.SplitHostPort(args[1])
		if err != nil {
			return err
		}
		accept = func() (net.Conn, error) {
			return net.DialTimeout("tcp", net.JoinHostPort(host, fields[3]), patience)
		}
	}
	if err := c.PrintfLine("RETR %s", args[2]); err != nil {
		return err
	}
	data, err := accept()
	if err != nil {
		return err
	}
	defer data.Close()
	if _, _, err := c.ReadResponse(150); err != nil {
		return err
	}
	if _, err := io.Copy(os.Stdout, data); err != nil {
		return err
	}
	_, _, err = c.ReadResponse(226)
	return err
}

// stream ADDRESS INTERVAL sends a datagram each interval to a server that echoes them, until its
// standard input ends. It reports the first echo, and at the end how many datagrams were sent
// and how many were not echoed.
func stream(args []string) error { return traffic(args, false) }

// flows ADDRESS INTERVAL is stream with a new socket for each datagram.
func flows(args []string) error { return traffic(args, true) }

func traffic(args []string, each bool) error {
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	var sent, back atomic.Int64
	var readers sync.WaitGroup
	open := func() (net.Conn, error) {
		c, err := net.Dial("udp", args[0])
		if err != nil {
			return nil, err
		}
		if each {
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				return nil, err
			}
		}
		readers.Go(func() {
			defer c.Close()
			for b := make([]byte, 1<<16); ; {
				_, err := c.Read(b)
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
					return
				case err != nil:
					continue // an ICMP error about an earlier datagram
				}
				if back.Add(1) == 1 {
					fmt.Println("streaming")
				}
				if each {
					return
				}
			}
		})
		return c, nil
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until it ends, for whatever reason
		close(stop)
	}()
	c, err := open()
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for stopped := false; !stopped; {
		_, _ = c.Write(fmt.Append(nil, sent.Add(1))) // an error counts as a loss
		if each {
			if c, err = open(); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			stopped = true
		case <-tick.C:
		}
	}
	// Datagrams that are still on their way get this much time.
	for end := time.Now().Add(patience); back.Load() < sent.Load() && time.Now().Before(end); {
		<-tick.C
	}
	_ = c.Close() // unless its reader has closed it
	readers.Wait()
	fmt.Printf("sent %d, lost %d\n", sent.Load(), sent.Load()-back.Load())
	return nil
}
