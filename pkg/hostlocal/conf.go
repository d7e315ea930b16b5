package hostlocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// defaultDataDir is the default of ipam.dataDir.
const defaultDataDir = "/var/lib/cni/networks"

// oldStyle is the key of a range whose keys are directly below ipam.
const oldStyle = "ipam"

// conf is the part of a network's configuration that host-local reads.
type conf struct {
	Name       string `json:"name"`
	CNIVersion string `json:"cniVersion"`
	IPAM       *struct {
		rangeConf
		Name       string         `json:"name"` // ignored, but must be a string
		Type       string         `json:"type"` // likewise
		Routes     []*types.Route `json:"routes"`
		DataDir    string         `json:"dataDir"`
		ResolvConf string         `json:"resolvConf"`
		Ranges     [][]rangeConf  `json:"ranges"`
	} `json:"ipam"`
	RuntimeConfig struct {
		IPRanges [][]rangeConf `json:"ipRanges"`
		IPs      []requested   `json:"ips"`
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			IPs []requested `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

// envArgs is the part of CNI_ARGS that host-local reads. The names of fields are keys.
type envArgs struct {
	types.CommonArgs
	IP requested
}

// Open reads a network's configuration and CNI_ARGS. It opens no file. The error has every
// fault of the ranges and of the requested addresses, each with its key.
func Open(stdin []byte, cniArgs string) (*Leases, error) {
	var c conf
	if err := json.Unmarshal(stdin, &c); err != nil {
		return nil, fmt.Errorf("the network configuration cannot be decoded: %w", err)
	}
	// The name becomes an element of a path.
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return nil, err
	}
	if c.IPAM == nil {
		return nil, errors.New("ipam is missing; give an object such as {\"type\": \"host-local\", \"subnet\": \"10.0.0.0/24\"}")
	}
	var env envArgs
	if err := types.LoadArgs(cniArgs, &env); err != nil {
		return nil, fmt.Errorf("CNI_ARGS: %w", err)
	}
	addrs, addrsErr := c.requested(env)
	sets, setsErr := c.sets()
	var routesErr error
	if i := slices.Index(c.IPAM.Routes, nil); i >= 0 {
		routesErr = fmt.Errorf("ipam.routes[%d] is null; remove it", i)
	}
	if err := errors.Join(setsErr, addrsErr, routesErr); err != nil {
		return nil, err
	}
	return &Leases{
		dir:        c.directory(),
		sets:       sets,
		requested:  addrs,
		routes:     c.IPAM.Routes,
		resolvConf: c.IPAM.ResolvConf,
	}, nil
}

// OpenForRelease reads only the directory of the leases: an address can be released even if
// the ranges have become faulty. Release is the only method for the result.
func OpenForRelease(stdin []byte) (*Leases, error) {
	var head struct {
		Name string `json:"name"`
		IPAM struct {
			DataDir string `json:"dataDir"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(stdin, &head); err != nil {
		return nil, fmt.Errorf("the network configuration cannot be decoded: %w", err)
	}
	if err := utils.ValidateNetworkName(head.Name); err != nil {
		return nil, err
	}
	return &Leases{dir: directoryOf(head.IPAM.DataDir, head.Name)}, nil
}

func (c *conf) directory() directory { return directoryOf(c.IPAM.DataDir, c.Name) }

func directoryOf(dataDir, network string) directory {
	if dataDir == "" {
		dataDir = defaultDataDir
	}
	return directory(filepath.Join(dataDir, network))
}

// requested returns the requested addresses, each once.
func (c *conf) requested(env envArgs) ([]netip.Addr, error) {
	var all []netip.Addr
	var faults []error
	add := func(key string, ips []requested) {
		for i, a := range ips {
			switch {
			case a.fault != nil:
				faults = append(faults, fmt.Errorf("%s[%d]: %w", key, i, a.fault))
			case !a.IsValid():
				faults = append(faults, fmt.Errorf("%s[%d] is empty; give an address, or remove it", key, i))
			case !slices.Contains(all, a.Addr):
				all = append(all, a.Addr)
			}
		}
	}
	switch {
	case env.IP.fault != nil:
		faults = append(faults, fmt.Errorf("CNI_ARGS: IP: %w", env.IP.fault))
	case env.IP.IsValid():
		all = append(all, env.IP.Addr)
	}
	add("args.cni.ips", c.Args.CNI.IPs)
	add("runtimeConfig.ips", c.RuntimeConfig.IPs)
	return all, errors.Join(faults...)
}

// sets returns the range sets in host-local's order. The addresses in the result and the
// numbers of last_reserved_ip files have the same order.
func (c *conf) sets() ([]rangeSet, error) {
	var confs []rangeSetConf
	add := func(key string, sets [][]rangeConf) {
		for i, ranges := range sets {
			confs = append(confs, rangeSetConf{fmt.Sprintf("%s[%d]", key, i), ranges})
		}
	}
	var faults []error
	add("runtimeConfig.ipRanges", c.RuntimeConfig.IPRanges)
	if c.IPAM.Subnet.given {
		confs = append(confs, rangeSetConf{oldStyle, []rangeConf{c.IPAM.rangeConf}})
	} else if err := c.IPAM.fault(oldStyle); err != nil {
		faults = append(faults, err)
	}
	add("ipam.ranges", c.IPAM.Ranges)
	if len(confs) == 0 {
		faults = append(faults, errors.New("ipam has no ranges; give ipam.ranges such as [[{\"subnet\": \"10.0.0.0/24\"}]]"))
	}

	var sets []rangeSet
	families := map[int]int{}
	for _, sc := range confs {
		s, err := sc.set()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, other := range sets {
			if s.overlaps(other) {
				faults = append(faults, fmt.Errorf("%s: %s overlaps %s of %s; remove one of them", s.key, s, other, other.key))
			}
		}
		sets = append(sets, s)
		families[s.ranges[0].first.BitLen()]++
	}
	if families[32] > 1 || families[128] > 1 {
		// A result before 0.3.0 can contain one address of each family.
		if able, err := version.GreaterThanOrEqualTo(c.CNIVersion, "0.3.0"); err != nil || !able {
			faults = append(faults, fmt.Errorf("cniVersion: %q allows one address of each family, and there are %d range sets of IPv4 and %d of IPv6; give at least version 0.3.0, or fewer range sets",
				c.CNIVersion, families[32], families[128]))
		}
	}
	return sets, errors.Join(faults...)
}
