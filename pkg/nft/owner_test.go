package nft

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// flagged makes the table with the given flags.
func flagged(flags uint32) op {
	var body netlink.Encoder
	body.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	body.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	return op{typ: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE, body: body, what: "add table"}
}

// TestTableOfAnotherProgram: an error about a table of another program names the owner,
// and the table is not changed. When the owner has ended, the table is made again. The
// kernel never removes the flag persist (0x4, since Linux 6.9) from a table.
func TestTableOfAnotherProgram(t *testing.T) {
	const persist = 0x4
	a := attachment("a", masq.Default(), "10.88.0.5")
	for name, flags := range map[string]uint32{
		"owner": flagTableOwner, "owner and persist": flagTableOwner | persist, "persist": persist,
		"dormant": unix.NFT_TABLE_F_DORMANT, "dormant and persist": unix.NFT_TABLE_F_DORMANT | persist,
	} {
		t.Run(name, func(t *testing.T) {
			c := kernel(t)
			add := func() error {
				return c.Add(a, hasAll, func() ([]masq.Attachment, error) { return []masq.Attachment{a}, nil }, nil)
			}
			other, err := Open()
			if err != nil {
				t.Fatal(err)
			}
			if err := other.commit([]op{flagged(flags)}, 0); err != nil {
				if flags&persist != 0 && errors.Is(err, unix.EOPNOTSUPP) {
					t.Logf("the kernel has no tables that persist: %v", err)
					return
				}
				t.Fatal(err)
			}
			owned := flags&flagTableOwner != 0
			if owned {
				want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)
				_, structure := c.SyncStructure(desiredOf(a))
				_, apply := c.Apply(want)
				_, edit := c.Edit([]ruleset.LiveElement{{Set: "policy4", Element: ruleset.Element{Key: "10.88.0.5"}}}, nil, 0)
				for what, err := range map[string]error{
					"ADD": add(), "structure": structure, "apply": apply, "edit": edit, "uninstall": c.Uninstall(),
				} {
					var owner *OwnerError
					if !errors.As(err, &owner) || owner.PID == 0 || !owner.Certain || !strings.Contains(err.Error(), "(nft.test)") || strings.Contains(err.Error(), "CAP_NET_ADMIN") {
						t.Errorf("%s: %v", what, err)
					}
				}
				if err := c.Remove(a, hasAll); err != nil {
					t.Errorf("DEL: %v", err)
				}
				if is, err := c.Structure(); err != nil || is.Owner == nil {
					t.Errorf("STATUS: %+v, %v", is, err)
				}
				if all, err := c.Identities(); err != nil || len(all) != 0 {
					t.Errorf("identities: %v, %v", all, err)
				}
			}
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			if o, err := c.Owner(); err != nil || o != nil {
				t.Fatalf("after the end of the owner: %v, %v", o, err)
			}
			if err := add(); err != nil {
				t.Fatalf("ADD: %v", err)
			}
			if changes, err := c.Drift(ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
				t.Errorf("after ADD: %v, %v", texts(changes), err)
			}
		})
	}
}

// TestOwnerNotFound: if the process cannot be found, the error names the port ID of its
// socket.
func TestOwnerNotFound(t *testing.T) {
	err := &OwnerError{Port: 0x80000001}
	if got := err.Error(); !strings.Contains(got, "netlink port 2147483649") || !strings.Contains(got, "/proc/net/netlink") {
		t.Error(got)
	}
	err = &OwnerError{Port: 7, PID: 7, Process: "a\x1b[2J"}
	if got := err.Error(); !strings.Contains(got, `probably process 7 (a\x1b[2J)`) {
		t.Error(got)
	}
}
