// Package leasehistory remembers which attachment had an address at which time. The kernel
// may report the end of a flow after its container was removed and another container
// received the address.
//
// A History follows the records of attachments. It keeps the last 4 attachments of each
// address. Of removed attachments it keeps the latest, with 16,384 addresses in total,
// which take about 6 MB. For an older flow it returns the earliest attachment that it
// knows.
//
// To debug: the NAT log has each flow with the attachment that History.At returned. The
// records in <stateDir>/attachments have the addresses and the time of ADD ("created").
package leasehistory
