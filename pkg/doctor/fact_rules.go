package doctor

import "github.com/masq-cni/masq-cni/pkg/nft"

// queryRules calls query with a connection to nftables.
func queryRules[T any](query func(*nft.Conn) (T, error)) (x T, err error) {
	c, err := nft.Open()
	if err != nil {
		return x, err
	}
	defer func() { _ = c.Close() }()
	return query(c)
}

// countedRules returns the rules of table inet masq, none if it does not exist.
func (n *Node) countedRules() ([]nft.CountedRule, error) {
	return read(n, "counted rules", func() ([]nft.CountedRule, error) { return queryRules((*nft.Conn).CountedRules) })
}
