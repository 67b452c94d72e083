package rollcall;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.apache.lucene.analysis.ngram.NGramTokenizer;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterName;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * What every distribution has from modules that are not on Maven Central, and we use: {@code GET /}, and the tokenizer
 * {@code ngram} (Lucene's, with its usual name, settings and limit).
 */
public final class Essentials extends Plugin implements AnalysisPlugin, ActionPlugin {

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("ngram", (index, environment, name, settings) -> {
            int min = settings.getAsInt("min_gram", NGramTokenizer.DEFAULT_MIN_NGRAM_SIZE);
            int max = settings.getAsInt("max_gram", NGramTokenizer.DEFAULT_MAX_NGRAM_SIZE);
            if (max - min > index.getMaxNgramDiff()) {
                throw new IllegalArgumentException("max_gram - min_gram is above index.max_ngram_diff");
            }
            if (settings.hasValue("token_chars") || settings.keySet().contains("token_chars.0")) {
                throw new IllegalArgumentException("tokenizer " + name + ": this server lacks token_chars");
            }
            return TokenizerFactory.newFactory(name, () -> new NGramTokenizer(min, max));
        });
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices services, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
        return List.of(new Root(nodes));
    }

    private static final class Root extends BaseRestHandler {
        private final Supplier<DiscoveryNodes> nodes;

        Root(Supplier<DiscoveryNodes> nodes) {
            this.nodes = nodes;
        }

        @Override
        public String getName() {
            return "root";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                XContentBuilder body = channel.newBuilder()
                    .startObject()
                    .field("name", nodes.get().getLocalNode().getName())
                    .field("cluster_name", ClusterName.CLUSTER_NAME_SETTING.get(client.settings()).value())
                    .startObject("version")
                    .field("number", Build.current().version())
                    .field("build_flavor", "default")
                    .field("lucene_version", org.apache.lucene.util.Version.LATEST.toString())
                    .endObject()
                    .field("tagline", "You Know, for Search")
                    .endObject();
                channel.sendResponse(new RestResponse(RestStatus.OK, body));
            };
        }
    }
}
