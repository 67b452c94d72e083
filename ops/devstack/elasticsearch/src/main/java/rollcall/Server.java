package rollcall;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** One node on the loopback: {@code rollcall.Server MODULES HOME PORT}. It ends with the process that started it. */
public final class Server {
    private static final int SECONDS_TO_CLOSE = 10;

    public static void main(String[] args) throws Exception {
        ProcessHandle.current().parent().ifPresent(parent -> parent.onExit().thenRun(() -> Runtime.getRuntime().halt(1)));
        Path modules = Path.of(args[0]);
        Path home = Path.of(args[1]);
        Path config = Files.createDirectories(home.resolve("config"));
        Settings settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "rollcall")
            .put("node.name", "rollcall")
            .put("discovery.type", "single-node")
            .put("http.host", "127.0.0.1")
            .put("http.port", args[2])
            .put("transport.host", "127.0.0.1")
            .put("transport.port", "0")
            .put("logger.level", "INFO")
            // A developer's disk is often fuller than the shares at which a cluster stops writing.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            // This collector leaves garbage until the heap is full; counted as memory in use it would have every request refused.
            .put("indices.breaker.total.use_real_memory", false)
            .build();
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName("rollcall");
        LogConfigurator.configureWithoutConfig(settings);
        PluginsLoader plugins = PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(modules, false), Set.of(), Map.of(), false);
        Node node = new Node(new Environment(settings, config), plugins);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        System.out.println("started");
        Thread.currentThread().join(); // the node's own threads are daemons
    }

    private static void close(Node node) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(SECONDS_TO_CLOSE, TimeUnit.SECONDS);
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
