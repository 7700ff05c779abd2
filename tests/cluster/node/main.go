// Command node is a Kubernetes of one machine: every upstream program in one binary, each started by its own name.
//
//	node etcd DIR URL            an etcd of one member, client URL on loopback
//	node kube-apiserver FLAGS    and kube-controller-manager, kube-scheduler, kubelet, kube-proxy, exactly as upstream
//	                             builds them
//	node helm WORDS              Helm: its libraries are those of Kubernetes, so it is hardly more to build
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	helm "helm.sh/helm/v4/pkg/cmd"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	if len(os.Args) < 2 {
		fail("which program?")
	}
	name := os.Args[1]
	os.Args = os.Args[1:]
	var command *cobra.Command
	switch name {
	case "etcd":
		etcd(os.Args[1], os.Args[2])
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		command = proxy.NewProxyCommand()
	case "helm":
		made, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
		if err != nil {
			fail(err.Error())
		}
		command = made
	default:
		fail("no such program: " + name)
	}
	os.Exit(cli.Run(command))
}

// etcd serves until the process ends: the cluster is thrown away with its folder, so nothing waits for the disk.
func etcd(dir, client string) {
	address, err := url.Parse(client)
	if err != nil {
		fail(err.Error())
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{*address}
	config.AdvertiseClientUrls = []url.URL{*address}
	config.ListenPeerUrls = nil
	config.QuotaBackendBytes = 4 << 30
	server, err := embed.StartEtcd(config)
	if err != nil {
		fail(err.Error())
	}
	<-server.Server.ReadyNotify()
	fail((<-server.Err()).Error())
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
