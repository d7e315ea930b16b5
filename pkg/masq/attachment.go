package masq

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
)

// Key names an attachment the way a container runtime does: the same three
// values come with each CNI call for it.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"`
}

// identityMax is the number of bytes that fit into the comment of a set
// element, without its closing NUL (NFTNL_UDATA_COMMENT_MAXLEN is 128).
const identityMax = 127

// identityHead is the number of bytes that stay at the start of an identity that is
// shortened.
const identityHead = 60

// Identity is the identity of the attachment as it stands in the kernel, in the
// comment of its map elements: network/containerID/interface. Where that is too
// long for a comment, the middle is replaced by a digest of the whole, so that
// two attachments never share an identity.
func (k Key) Identity() string {
	s := k.Network + "/" + k.ContainerID + "/" + k.Interface
	if len(s) <= identityMax {
		return s
	}
	d := k.Digest()
	tail := s[len(s)-(identityMax-identityHead-len(d)-2):]
	return s[:identityHead] + "~" + d + "~" + tail
}

// DigestOf returns the digest of the key that an identity stands for; ok is false where
// the text is not an identity.
func DigestOf(identity string) (digest string, ok bool) {
	if k, ok := ParseIdentity(identity); ok {
		return k.Digest(), true
	}
	if len(identity) != identityMax || identity[identityHead] != '~' {
		return "", false
	}
	digest, _, ok = strings.Cut(identity[identityHead+1:], "~")
	raw, err := hex.DecodeString(digest)
	return digest, ok && err == nil && len(raw) == digestBytes
}

// String is the identity.
func (k Key) String() string { return k.Identity() }

// Digest is 32 hexadecimal digits that stand for the key where a name has to be
// short and of harmless characters: file names, names of links.
func (k Key) Digest() string {
	h := sha256.New()
	for _, s := range []string{k.Network, k.ContainerID, k.Interface} {
		h.Write([]byte(s))
		h.Write([]byte{0}) // a NUL cannot be part of any of the three
	}
	return hex.EncodeToString(h.Sum(nil)[:digestBytes])
}

const digestBytes = 16

// HostName is the name of the host's end of the attachment's link. It follows
// from the key, so that a DEL without any record still finds the link.
func (k Key) HostName() string { return "veth" + k.Digest()[:11] }

// The groups of the host's ends of our links, which tell them from others at the
// price of one comparison: "masq" in ASCII where the sources of packets are
// checked, one less where they are not.
const (
	CheckedGroup   = 0x6d617371
	UncheckedGroup = CheckedGroup - 1
)

// Pod is what a Kubernetes runtime says of the pod that a container belongs to.
// All fields are empty elsewhere.
type Pod struct {
	Namespace string `json:"podNamespace,omitempty"`
	Name      string `json:"podName,omitempty"`
	UID       string `json:"podUID,omitempty"`
}

// Attachment is one interface of one container on one network, with the policy
// that its traffic leaves the node under.
type Attachment struct {
	Key
	Pod
	// Addresses are those of the interface, without prefix lengths, IPv4 first.
	Addresses []netip.Addr `json:"addresses"`
	// Policy is nil where the network asked for the link alone (ipMasq false).
	Policy *Policy `json:"policy,omitempty"`
	// SpoofCheck drops packets that enter by the host's end of the link with a
	// source that is not among Addresses. Only where the link is ours.
	SpoofCheck bool `json:"spoofCheck,omitempty"`
}
