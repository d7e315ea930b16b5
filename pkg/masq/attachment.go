package masq

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
)

// Key identifies an attachment by the three values that a container runtime passes with
// each CNI call.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"`
}

// maxIdentity is the length in bytes of the comment of a set element, without its closing
// NUL (NFTNL_UDATA_COMMENT_MAXLEN is 128).
const maxIdentity = 127

// identityHead is the number of bytes that a shortened identity keeps of its start.
const identityHead = 60

// Identity returns the attachment's name in the kernel, such as in the comments of its map
// elements: network/containerID/interface. If that is too long for a comment, a digest of
// the key replaces the middle, so that no two attachments have the same identity.
func (k Key) Identity() string {
	s := k.Network + "/" + k.ContainerID + "/" + k.Interface
	if len(s) <= maxIdentity {
		return s
	}
	d := k.Digest()
	tail := s[len(s)-(maxIdentity-identityHead-len(d)-2):]
	return s[:identityHead] + "~" + d + "~" + tail
}

// DigestOf returns the digest of an identity's key. ok is false if the text is not an
// identity.
func DigestOf(identity string) (digest string, ok bool) {
	if k, ok := ParseIdentity(identity); ok {
		return k.Digest(), true
	}
	if len(identity) != maxIdentity || identity[identityHead] != '~' {
		return "", false
	}
	digest, _, ok = strings.Cut(identity[identityHead+1:], "~")
	raw, err := hex.DecodeString(digest)
	return digest, ok && err == nil && len(raw) == digestBytes
}

// String returns the identity.
func (k Key) String() string { return k.Identity() }

// Digest returns 32 hexadecimal digits that identify the key in names of files and links.
func (k Key) Digest() string {
	h := sha256.New()
	for _, s := range []string{k.Network, k.ContainerID, k.Interface} {
		h.Write([]byte(s))
		h.Write([]byte{0}) // none of the three can contain a NUL
	}
	return hex.EncodeToString(h.Sum(nil)[:digestBytes])
}

const digestBytes = 16

// HostName returns the name of the host's end of the attachment's link. It follows from the
// key, so that a DEL without a record finds the link.
func (k Key) HostName() string { return "veth" + k.Digest()[:11] }

// The groups of the host's ends that the plugin makes. Rules match them with one
// comparison. CheckedGroup, "masq" in ASCII, is for links with a source check.
const (
	CheckedGroup   = 0x6d617371
	UncheckedGroup = CheckedGroup - 1
)

// Pod identifies the Kubernetes pod of a container. The fields are empty without Kubernetes.
type Pod struct {
	Namespace string `json:"podNamespace,omitempty"`
	Name      string `json:"podName,omitempty"`
	UID       string `json:"podUID,omitempty"`
}

// Attachment is one interface of one container on one network, with the policy for its
// traffic.
type Attachment struct {
	Key
	Pod
	// Addresses are the interface's addresses without prefix lengths, IPv4 first.
	Addresses []netip.Addr `json:"addresses"`
	// Policy is nil for a network without masquerading (ipMasq false).
	Policy *Policy `json:"policy,omitempty"`
	// SpoofCheck drops packets that enter by the host's end of the link with a source that is
	// not one of Addresses. It is false for links of other plugins.
	SpoofCheck bool `json:"spoofCheck,omitempty"`
}
