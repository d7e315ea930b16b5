package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// explain adds the remedy to errors that have one.
func explain(err error) error {
	var failed *opError
	// Without nf_tables the kernel answers EINVAL to every request that is no transaction.
	none := errors.Is(err, unix.EINVAL) && !errors.As(err, &failed)
	var owned *OwnerError
	switch {
	case errors.As(err, &owned):
		return fmt.Errorf("nftables: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nftables: %w: CAP_NET_ADMIN is needed", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), none:
		return fmt.Errorf("nftables: %w: the kernel lacks a part of nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ, CONFIG_NFT_NAT, CONFIG_NFT_CT, CONFIG_NFT_FIB_INET)", err)
	case errors.As(err, &failed) && failed.op.typ == unix.NFT_MSG_NEWOBJ && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %w: the kernel lacks this conntrack helper", err)
	case err != nil:
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}
