package cniconf

// LoadForRemoval reads only what DEL needs: CNIVersion, Name, IPAMType, StateDir and,
// if it is valid, PrevResult. It ignores faults of other keys: an administrator may have
// made the policy faulty after ADD, and DEL must still remove the attachment.
func LoadForRemoval(stdin []byte) (*Conf, error) {
	r, err := newReader(stdin)
	if err != nil {
		return nil, err
	}
	r.repeatedKeys("cniVersion", "name", "stateDir")
	c := &Conf{CNIVersion: r.version(), Name: r.name(), StateDir: r.stateDir()}
	if ipam, ok := r.ipam(); ok {
		c.IPAMType = r.ipamType(ipam)
	}
	if err := r.err(c.Name); err != nil {
		return nil, err
	}
	c.PrevResult = r.prevResult(c.CNIVersion) // its faults are ignored
	return c, nil
}
