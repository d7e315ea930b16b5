package cniconf

import "slices"

// LoadForRemoval reads what DEL needs and no more: CNIVersion, Name, IPAMType,
// StateDir and, where it can be read, PrevResult. Faults elsewhere do not count,
// for DEL has to work although somebody has since written one into the policy;
// a container would otherwise stay half removed for as long as it is there.
func LoadForRemoval(stdin []byte) (*Conf, error) {
	r := newReader(stdin)
	all := r.conf()
	r.faults = slices.DeleteFunc(r.faults, func(f fault) bool {
		switch f.key {
		case "stdin", "cniVersion", "name", "stateDir":
			return false
		case "ipam":
			return f.place != "" && f.place != "ipam.type"
		}
		return true
	})
	if err := r.err(all.Name); err != nil {
		return nil, err
	}
	return &Conf{
		CNIVersion: all.CNIVersion,
		Name:       all.Name,
		IPAMType:   all.IPAMType,
		StateDir:   all.StateDir,
		PrevResult: all.PrevResult,
	}, nil
}
