import { ErrorBoundary, useCondev, useRoute } from "@condev-monitor/browser/react";
import { useState } from "react";

export function App() {
  const [isLost, lose] = useState(false);
  useRoute("/orders/:id");
  return (
    <main>
      <h1>Order 4711</h1>
      <p>What breaks below is reported with React’s component stack.</p>
      <ErrorBoundary fallback={(props) => <Broken {...props} />} hint={{ tags: { part: "price" } }}>
        <Price />
      </ErrorBoundary>
      <ErrorBoundary fallback={<p role="alert">The delivery could not be shown.</p>}>
        <Delivery />
      </ErrorBoundary>
      <section>
        <h2>Outside of every boundary</h2>
        <button type="button" onClick={() => lose(true)}>Lose the whole page</button>
        {isLost && <Lost />}
      </section>
    </main>
  );
}

function Broken({ error, eventId, reset }) {
  return (
    <section role="alert">
      <h2>The price could not be shown</h2>
      <p>{error.message} · report <code>{eventId.slice(0, 8)}</code></p>
      <button type="button" onClick={reset}>Try again</button>
    </section>
  );
}

function Price() {
  const [entry, setEntry] = useState({ price: 42 });
  return (
    <section>
      <h2>Price</h2>
      <PriceTag entry={entry} />
      <button type="button" onClick={() => setEntry(undefined)}>Forget the price</button>
    </section>
  );
}

function PriceTag({ entry }) {
  return <p>€ {entry.price}</p>;
}

function Delivery() {
  const { showBoundary } = useCondev();
  // React's boundaries do not see errors of handlers and promises: hand them over.
  const track = () => askCourier().catch(showBoundary);
  return (
    <section>
      <h2>Delivery</h2>
      <button type="button" onClick={track}>Where is it?</button>
    </section>
  );
}

async function askCourier() {
  throw new Error("The courier does not answer");
}

function Lost() {
  throw new RangeError("The page lost itself");
}
