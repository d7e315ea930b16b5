package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// flowLimit is nf_conntrack_max. It applies to each namespace, and only the machine's namespace can
// change it. The number of buckets is not changed.
const flowLimit = "/proc/sys/net/netfilter/nf_conntrack_max"

// roomFor raises the limit to this number of flows if it is lower, until undo.
func roomFor(flows int) (undo func() error, err error) {
	text, err := os.ReadFile(flowLimit)
	if err != nil {
		return nil, err
	}
	was, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flowLimit, err)
	}
	if was >= flows {
		return func() error { return nil }, nil
	}
	set := func(n int) error { return os.WriteFile(flowLimit, []byte(strconv.Itoa(n)), 0) }
	return func() error { return set(was) }, set(flows)
}
