export const dynamic = "force-dynamic";

export default async function Broken() {
  throw new Error("The stock service is down");
}
